#!/bin/sh
# healthcheck.sh [URL]: succeed if Python starts, the package can be imported and the URL, if given, answers. It stays
# cheap because it runs every few seconds during a training. `app doctor` checks more.
set -eu

python -c "import app.errors"
[ $# = 0 ] || exec python - "$1" <<'PYTHON'
import sys
import urllib.request

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach this machine's 127.0.0.1
direct.open(sys.argv[1], timeout=3).close()
PYTHON
