# shellcheck shell=sh
# Sourced by every build step that uses the network: sets the extra CA bundle and the package index for this step only.
# It writes to /dev/shm, which is never part of a layer.

if [ -s /run/secrets/ca ]; then
    # Added to the system's certificates: a company's proxy rarely inspects all traffic.
    cat /etc/ssl/certs/ca-certificates.crt /run/secrets/ca >/dev/shm/ca.pem 2>/dev/null || true
    export SSL_CERT_FILE=/dev/shm/ca.pem PIP_CERT=/dev/shm/ca.pem
fi
if [ -n "${PIP_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
else
    unset PIP_INDEX_URL
fi
