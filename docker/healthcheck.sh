#!/bin/sh
# healthcheck.sh [URL]: healthy means that the environment starts Python, that the package can be imported, and, given a
# URL, that it answers. Well under a second, because it runs every few seconds.
exec python - "$@" <<'PYTHON'
import sys
import urllib.request

import app.errors

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not know this machine's 127.0.0.1
for url in sys.argv[1:]:
    direct.open(url, timeout=3).close()
PYTHON
