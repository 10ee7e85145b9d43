#!/usr/bin/env bash
# Load on a release build: idle tunnels held and closed twice, active ones with verified bytes, new ones a second.
# Loopback only, about a minute, stops by itself. Prints a table; exit 1 when something leaks.
#   IDLE=9000 ACTIVE=2000 CONNECTS=20000 tests/load.sh
# What many rules cost a CONNECT, and what swapping them costs, beside a gateway with ten:
#   RULES=1000000 tests/load.sh rules
set -euo pipefail
cd "$(dirname "$0")/.."

ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
limit="$(ulimit -n)"
if [[ "$limit" == unlimited || "$limit" -gt 20000 ]]; then
    ulimit -n 20000
fi
cargo build --locked --release --bin sluicegate
mkdir -p target/load
what="${1:-load}"
rustc --edition 2024 -O -A dead_code -o "target/load/$what" "tests/load/$what.rs"
if [[ "$what" == rules ]]; then
    exec timeout 300 target/load/rules "$PWD/target/release/sluicegate" "${RULES:-1000000}"
fi
exec timeout 300 target/load/load "$PWD/target/release/sluicegate" \
    "${IDLE:-9000}" "${ACTIVE:-2000}" "${CONNECTS:-20000}"
