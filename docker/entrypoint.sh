#!/bin/sh
# Runs first in every container: make sure that home and cache are writable, then exec the command.
#
# Prints nothing on standard output, so that the command's output can be piped, and only warnings on standard error.
# The image's home and cache are writable for any user id, unless the root is read-only or a volume is another user's.
set -eu

# Root gets its own home: files that it left in the user's home would be read-only for the user.
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

# Return whether this user can write programs to a folder and run them. A mount may forbid that (noexec), as a tmpfs of
# Docker's does by default; `test -x` asks the kernel, which knows.
executes() {
    [ -w "$1" ] || return 1
    program="$1/.executes-$$"
    (: >"$program" && chmod 700 "$program") 2>/dev/null || return 1
    if [ -x "$program" ]; then found=0; else found=1; fi
    rm -f "$program"
    return $found
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

# Add a company's certificates (compose.ca.yaml) to the system's. In /dev/shm, which is never part of a layer.
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

# torch.compile loads the libraries that it compiles, so their folder must allow it.
for variable in TORCHINDUCTOR_CACHE_DIR TRITON_CACHE_DIR; do
    eval "folder=\${$variable:-}"
    if [ -z "$folder" ] || executes "$folder"; then continue; fi
    for place in "${TMPDIR:-/tmp}" /tmp "$HOME" /dev/shm none; do
        [ "$place" != none ] || break
        ! executes "$place" || break
    done
    if [ "$place" = none ]; then
        echo "warning: torch.compile cannot work: every folder that user $(id -u) can write to is mounted noexec" >&2
        echo "  fix: mount /cache without noexec, or give the container a /tmp for programs: --tmpfs /tmp:exec" >&2
        break
    fi
    cache="$place/cache-$(id -u)/$(basename "$folder")"
    mkdir -p "$cache"
    export "$variable=$cache"
done

exec "$@"
