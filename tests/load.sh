#!/usr/bin/env bash
# Load on a release build: idle tunnels held and closed twice, active ones with verified bytes, new ones a second.
# Loopback only, about a minute, stops by itself. Prints a table; exit 1 when something leaks.
#   IDLE=9000 ACTIVE=2000 CONNECTS=20000 tests/load.sh
# What many rules cost a CONNECT, and what swapping them costs, beside a gateway with ten:
#   RULES=1000000 tests/load.sh rules
# What new connections at once cost that are redirected, beside CONNECT; as root, in network namespaces of its own:
#   CONNECTIONS=2000 ROUNDS=5 tests/load.sh transparent
set -euo pipefail
cd "$(dirname "$0")/.."

what="${1:-load}"
if [[ "$what" == transparent ]]; then
    [[ $(id -u) == 0 ]] || { echo "tests/load.sh transparent makes network namespaces and loads rules: it needs root" >&2; exit 2; }
    for tool in ip nft; do
        command -v "$tool" >/dev/null || { echo "tests/load.sh transparent needs \`$tool\`" >&2; exit 2; }
    done
fi
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
limit="$(ulimit -n)"
if [[ "$limit" == unlimited || "$limit" -gt 20000 ]]; then
    ulimit -n 20000
fi
cargo build --locked --release --bin sluicegate
mkdir -p target/load
rustc --edition 2024 -O -A dead_code -o "target/load/$what" "tests/load/$what.rs"
if [[ "$what" == rules ]]; then
    exec timeout 300 target/load/rules "$PWD/target/release/sluicegate" "${RULES:-1000000}"
fi
if [[ "$what" == transparent ]]; then
    name="sluiceload-$$"
    clean() {
        local place
        for place in sbx gate net; do
            ip netns pids "$name-$place" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
            ip netns del "$name-$place" 2>/dev/null || true
        done
        rm -rf "${TMPDIR:-/tmp}/$name"
    }
    trap clean EXIT
    trap 'exit 130' INT TERM
    timeout 300 target/load/transparent "$PWD/target/release/sluicegate" "${CONNECTIONS:-2000}" "${ROUNDS:-5}" "$name"
    exit
fi
exec timeout 300 target/load/load "$PWD/target/release/sluicegate" \
    "${IDLE:-9000}" "${ACTIVE:-2000}" "${CONNECTS:-20000}"
