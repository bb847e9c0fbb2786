#!/bin/sh
# What every container runs first: make sure that there is a home and a cache to write to, then become the command.
#
# Says nothing on standard output, and nothing at all when all is well, so that output can be piped. The image's own
# home and cache are writable for any user id; what changes that is a read-only root or a volume that is another's.
set -eu

# Root keeps its own home: what it left in the user's, the user could not write to.
[ "$(id -u)" != 0 ] || [ "$HOME" != /home/dev ] || export HOME=/root

# The first of these that can be written to. /dev/shm is there even with a read-only root and no /tmp.
scratch() {
    for place in "${TMPDIR:-/tmp}" /tmp /dev/shm; do
        if [ -w "$place" ]; then
            echo "$place"
            return 0
        fi
    done
    echo /tmp
}

if [ ! -w /tmp ] && [ -z "${TMPDIR:-}" ]; then
    TMPDIR=$(scratch)
    export TMPDIR
fi
if [ ! -w "$HOME" ]; then
    HOME="$(scratch)/home-$(id -u)"
    mkdir -p "$HOME"
    export HOME
fi

# A company's certificates (compose.ca.yaml), beside the system's own and not instead. In /dev/shm, which no layer has.
if [ -s /run/secrets/ca ]; then
    bundle="/dev/shm/ca-$(id -u).pem"
    cat /etc/ssl/certs/ca-certificates.crt /run/secrets/ca >"$bundle"
    export SSL_CERT_FILE="$bundle" REQUESTS_CA_BUNDLE="$bundle" CURL_CA_BUNDLE="$bundle" PIP_CERT="$bundle"
fi

cache=""
for variable in WORKSPACE_CACHE HF_HOME TORCHINDUCTOR_CACHE_DIR TRITON_CACHE_DIR CUDA_CACHE_PATH; do
    eval "folder=\${$variable:-}"
    [ -n "$folder" ] || continue
    mkdir -p "$folder" 2>/dev/null || true
    [ ! -w "$folder" ] || continue
    cache="$(scratch)/cache-$(id -u)/$(basename "$folder")"
    mkdir -p "$cache"
    export "$variable=$cache"
done
if [ -n "$cache" ]; then
    echo "warning: user $(id -u) cannot write to /cache; caching in ${cache%/*} for this container only" >&2
    echo "  fix: mount a volume at /cache that user $(id -u) may write to, or run as the user who owns it" >&2
fi

exec "$@"
