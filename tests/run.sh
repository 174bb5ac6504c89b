#!/usr/bin/env bash
# Passes the tests: installs the programs that some of them start, unless they are there, and runs all. Arguments are cargo's.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for program in python3 tmux; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if ((${#missing[@]})); then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -q && $sudo apt-get install -qy "${missing[@]}"
fi
exec cargo test --workspace --all-features "$@"
