#!/usr/bin/env bash
# Counts the instructions of one look-up or decision: benches/instructions.sh [SCENARIO]...
# The counts hardly depend on what else the machine does, so they can be compared between runs of a CI: each is shown
# beside that of the run before, which is kept in target/instructions. Needs valgrind (its callgrind).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "valgrind is missing: install the package valgrind (apt-get install valgrind, dnf install valgrind)" >&2
    exit 2
fi

# The function that is counted is found by its name, so symbols stay.
export CARGO_PROFILE_BENCH_STRIP=none CARGO_PROFILE_BENCH_DEBUG=line-tables-only
built="$(cargo bench --no-default-features --bench instructions --no-run 2>&1)" || { echo "$built" >&2; exit 1; }
binary="$(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' <<<"$built")"
times="$("$binary" | sed -n '1s/ .*//p')"
scenarios=("$@")
((${#scenarios[@]})) || mapfile -t scenarios < <("$binary" | sed 1d)

kept=target/instructions
mkdir -p "$kept"
printf '%-22s %12s %10s\n' scenario instructions 'since last'
for scenario in "${scenarios[@]}"; do
    said="$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='instructions::counted*' "$binary" "$scenario" 2>&1)" || { echo "$said" >&2; exit 1; }
    collected="$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$said")"
    if [[ -z "$collected" || "$collected" == 0 ]]; then
        printf 'nothing was counted for %s:\n%s\n' "$scenario" "$said" >&2
        exit 1
    fi
    each=$((collected / times))
    before="$(cat "$kept/$scenario" 2>/dev/null || true)"
    change=
    [[ -n "$before" ]] && change="$(awk "BEGIN { printf \"%+.1f %%\", ($each - $before) * 100 / $before }")"
    printf '%-22s %12d %10s\n' "$scenario" "$each" "$change"
    echo "$each" >"$kept/$scenario"
done
