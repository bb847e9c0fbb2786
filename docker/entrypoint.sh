#!/bin/sh
# The entrypoint of every container: make sure that home and caches are writable, then exec the command.
#
# Prints nothing to standard output, so that output can be piped, and a warning to stderr if needed. The image's home
# and caches are writable for any user id, except with a read-only root or on a volume that belongs to another user.
set -eu

# Root uses its own home: the user could not overwrite what root writes into the user's.
[ "$(id -u)" != 0 ] || [ "$HOME" != /home/dev ] || export HOME=/root

# Print the first writable folder. /dev/shm is writable even with a read-only root and no /tmp.
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

# A company's certificates (compose.ca.yaml), added to the system's. In /dev/shm, which is never part of a layer.
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
