#!/bin/sh
# Healthy: the environment starts Python and the package can be imported. Well under a second, so it may run often.
exec python -c "import app.errors"
