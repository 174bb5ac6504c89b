#!/bin/sh
# Counts the system calls of an echo of 64 bytes, for each kind of server: those of a run of N messages taken off those of a
# run of 2 N, both under strace, so that what is done once cancels out. Fails if a message costs an epoll_ctl, or for the kinds
# named in LIMITS more system calls than are allowed.
#
#   syscalls.sh [KIND ...]        default: raw campana campana-now tokio
#
# Environment: MESSAGES (N, default 20000), BATCH (connections that send together, default 100), PEERS (the program),
# LIMITS ("campana=2.05"; the default).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
messages=${MESSAGES:-20000}
batch=${BATCH:-100}
limits=${LIMITS-campana=2.05 campana-now=2.05}
[ $# -gt 0 ] || set -- raw campana campana-now tokio

if [ -z "${PEERS:-}" ]; then
    (cd "$here" && cargo build --release --quiet)
    target=$(cd "$here" && cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    PEERS=$target/release/peers
fi

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

# run KIND MESSAGES: prints "name count" for each system call of the server.
run() {
    : >"$work/out"
    strace -f -c -U name,calls -o "$work/counts" "$PEERS" serve "$1" --core 0 >"$work/out" &
    tracer=$!
    until grep -q listening "$work/out"; do
        kill -0 "$tracer"
        sleep 0.1
    done
    server=$(pgrep -P "$tracer")
    address=$(sed 's/listening on //' "$work/out")
    # On the server's own core the load has sent everything before the server reads anything.
    "$PEERS" load --connect "$address" --connections "$batch" --messages "$2" --lockstep --core 0 >/dev/null
    # Let it see the connections close: that counts in both runs alike.
    sleep 0.5
    kill -TERM "$server"
    wait "$tracer" 2>/dev/null || true
    server=
    awk '$2 ~ /^[0-9]+$/ && $1 != "total" { print $1, $2 }' "$work/counts"
}

echo "| system calls a message | in all | of these |"
echo "| --- | --- | --- |"
failed=0
for kind in "$@"; do
    run "$kind" "$messages" >"$work/once"
    run "$kind" $((2 * messages)) >"$work/twice"
    row=$(awk -v n="$messages" '
        NR == FNR { once[$1] = $2; next }
        { each = ($2 - once[$1]) / n; total += each; if (each >= 0.0005) list = list sprintf(", %s %.3f", $1, each) }
        END { printf "%.3f | %s", total, substr(list, 3) }' "$work/once" "$work/twice")
    echo "| $kind | $row |"
    case $row in
    *epoll_ctl*)
        echo "$kind: epoll_ctl in steady state" >&2
        failed=1
        ;;
    esac
    for limit in $limits; do
        if [ "${limit%%=*}" = "$kind" ]; then
            awk -v total="${row%% *}" -v limit="${limit##*=}" 'BEGIN { exit !(total > limit) }' && {
                echo "$kind: ${row%% *} system calls a message, and ${limit##*=} are allowed" >&2
                failed=1
            }
        fi
    done
done
exit "$failed"
