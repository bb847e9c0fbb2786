#!/bin/sh
# The main process of the dev container: wait, and when the container stops, let the running commands end first.
#
# `docker exec` starts a command outside the family of the main process: a stop would kill it without a signal that it
# could handle, and a training would lose what it learned since its last checkpoint. So on SIGTERM this sends SIGTERM to
# every process of this user and waits until those have ended that do not ignore it, as an interactive shell does. The
# engine kills what is left after stop_grace_period (compose.yaml).
set -eu

# Set `busy` to the first process of this user that can be waited for. Only builtins: a child would find itself.
look() {
    busy=""
    for folder in /proc/[0-9]*; do
        pid=${folder#/proc/}
        # shellcheck disable=SC3067  # dash and bash have test -O
        [ "$pid" != 1 ] && [ "$pid" != $$ ] && [ "$pid" != "$PPID" ] && [ -O "$folder" ] || continue
        state="" ignored=0
        while read -r key value; do
            case $key in
            State:) state=$value ;;
            SigIgn:) ignored=$value ;;
            esac
        done 2>/dev/null <"$folder/status" || continue # it has just ended
        # Bit 14 of the mask is signal 15, SIGTERM.
        case $state in "" | Z*) continue ;; esac
        [ $((0x$ignored >> 14 & 1)) = 1 ] || busy=$pid
    done
}

stop() {
    trap '' TERM # tini passes the signal below on to this process too
    kill -s TERM -- -1 2>/dev/null || true
    look
    while [ -n "$busy" ]; do
        sleep 0.1
        look
    done
    exit 0
}

trap stop TERM
sleep infinity &
while :; do wait $! || true; done
