#!/bin/sh
# healthcheck.sh [URL]: healthy means that the environment starts Python, that the package can be imported, and, given a
# URL, that it answers. No more than that: it runs every few seconds beside whatever trains. `app doctor` looks deeper.
set -eu

python -c "import app.errors"
[ $# = 0 ] || exec python - "$1" <<'PYTHON'
import sys
import urllib.request

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not know this machine's 127.0.0.1
direct.open(sys.argv[1], timeout=3).close()
PYTHON
