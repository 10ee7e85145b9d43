#!/usr/bin/env bash
# Load on a release build: idle tunnels held and closed twice, active ones with verified bytes, new ones a second.
# Loopback only, about a minute, stops by itself. Prints a table; exit 1 when something leaks.
#   IDLE=9000 ACTIVE=2000 CONNECTS=20000 tests/load.sh
# What many rules cost a CONNECT, and what swapping them costs, beside a gateway with ten:
#   RULES=1000000 tests/load.sh rules
# What new connections at once cost that are redirected, beside CONNECT; as root, in network namespaces of its own:
#   CONNECTIONS=2000 ROUNDS=5 tests/load.sh transparent
# What a path of its own costs a CONNECT, as the kernel's routes are asked at each dial, beside the managed path:
#   TUNNELS=8000 ROUNDS=7 tests/load.sh vnet
# What interception costs, beside mitmproxy and Squid where they can be had (they are fetched once, into RIVALS), and beside
# another build of the gateway (OTHER); TASKS picks those whose names have it:
#   ROUNDS=5 SECONDS_EACH=2 TASKS=kept OTHER=/path/to/sluicegate tests/load.sh intercept
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
if [[ "$what" == intercept ]]; then
    # By itself, so that what tests need of a dependency is not in the gateway that is measured.
    cargo build --locked --release --example load
    rivals="${RIVALS:-${TMPDIR:-/tmp}/sluicegate-rivals}"
    mkdir -p "$rivals"
    if [[ ! -x "$rivals/mitmproxy/bin/mitmdump" ]]; then
        { python3 -m venv "$rivals/mitmproxy" && "$rivals/mitmproxy/bin/pip" install -q mitmproxy; } >&2 ||
            echo "mitmproxy cannot be installed here" >&2
    fi
    if [[ ! -x "$rivals/squid/usr/sbin/squid" ]]; then
        # Unpacked, not installed: nothing of this machine changes.
        (
            set -e
            cd "$rivals"
            apt-get download -q squid-openssl squid-common squid-langpack libecap3 libltdl7 libtdb1
            mkdir -p squid
            for package in *.deb; do
                dpkg-deb -x "$package" squid
            done
        ) >&2 || echo "Squid cannot be had here" >&2
    fi
    export MITMPROXY="$rivals/mitmproxy" SQUID="$rivals/squid"
    exec timeout 1800 target/release/examples/load "${ROUNDS:-5}" "${SECONDS_EACH:-2}" "$PWD/target/release/sluicegate" \
        ${OTHER:+"$OTHER"}
fi
mkdir -p target/load
rustc --edition 2024 -O -A dead_code -o "target/load/$what" "tests/load/$what.rs"
if [[ "$what" == rules ]]; then
    exec timeout 300 target/load/rules "$PWD/target/release/sluicegate" "${RULES:-1000000}"
fi
if [[ "$what" == vnet ]]; then
    exec timeout 300 target/load/vnet "$PWD/target/release/sluicegate" "${TUNNELS:-8000}" "${ROUNDS:-7}"
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
