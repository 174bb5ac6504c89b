#!/bin/sh
# Counts the user instructions of an echo of 64 bytes, for each kind of server: those of a run of N messages taken off
# those of a run of 2 N, both under callgrind, so that what is done once cancels out. The counts repeat to within one per cent.
#
#   instructions.sh [KIND ...]        default: raw raw-deferred campana campana-now tokio
#   SERVICE=framed instructions.sh    messages of 64 bytes with their length in front, 16 of them under way on each connection;
#                                     default: raw-batch campana campana-session tokio-usual tokio
#
# Environment: MESSAGES (N, default 20000), BATCH (connections that send together, default 1 and 100), DEPTH (messages under way on
# each, default 1, framed 16), PEERS (the program), PROFILES (a directory to keep the profiles of the longer runs in, named
# KIND-BATCH, for callgrind_annotate), LIMITS ("campana-now=250 campana=450": fail if the count at the largest batch exceeds it).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
messages=${MESSAGES:-20000}
batches=${BATCH:-1 100}
limits=${LIMITS:-}
service=${SERVICE:-echo}
profiles=${PROFILES:-}
[ -z "$profiles" ] || mkdir -p "$profiles"
case $service in
framed) depth=${DEPTH:-16} kinds='raw-batch campana campana-session tokio-usual tokio' ;;
*) depth=${DEPTH:-1} kinds='raw raw-deferred campana campana-now tokio' ;;
esac
# Kinds are single words.
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $kinds

if [ -z "${PEERS:-}" ]; then
    (cd "$here" && cargo build --release --quiet)
    target=$(cd "$here" && cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    PEERS=$target/release/peers
fi

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

# run KIND CONNECTIONS MESSAGES: prints the instructions of the server.
run() {
    : >"$work/out"
    valgrind --tool=callgrind --callgrind-out-file="$work/callgrind" "$PEERS" serve "$1" --service "$service" \
        --core 0 >"$work/out" 2>"$work/log" &
    server=$!
    until grep -q listening "$work/out"; do
        kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
        sleep 0.1
    done
    address=$(sed 's/listening on //' "$work/out")
    # On the server's own core the load has sent everything before the server reads anything.
    "$PEERS" load --connect "$address" --connections "$2" --pattern "$service" --depth "$depth" --messages "$3" \
        --lockstep --core 0 >/dev/null
    # Let it see the connections close: that counts in both runs alike.
    sleep 0.5
    kill -TERM "$server"
    wait "$server" 2>/dev/null || true
    server=
    sed -n 's/.*Collected : *\([0-9]*\).*/\1/p' "$work/log"
}

header='| instructions a message |' line='| --- |'
for batch in $batches; do
    header="$header batch of $batch |" line="$line --- |"
done
printf '%s\n%s\n' "$header" "$line"

failed=0
for kind in "$@"; do
    row="| $kind |"
    for batch in $batches; do
        once=$(run "$kind" "$batch" "$messages")
        twice=$(run "$kind" "$batch" $((2 * messages)))
        [ -z "$profiles" ] || cp "$work/callgrind" "$profiles/$kind-$batch"
        count=$(((twice - once + messages / 2) / messages))
        row="$row $count |"
    done
    echo "$row"
    for limit in $limits; do
        if [ "${limit%%=*}" = "$kind" ] && [ "$count" -gt "${limit##*=}" ]; then
            echo "$kind: $count instructions a message, and ${limit##*=} are allowed" >&2
            failed=1
        fi
    done
done
exit "$failed"
