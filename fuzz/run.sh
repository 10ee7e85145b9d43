#!/usr/bin/env bash
# Fuzzes each target for a while, one after the other: fuzz/run.sh [SECONDS] [TARGET]...
# Needs `cargo install cargo-fuzz` and a C++ compiler. RUSTC_BOOTSTRAP lets the stable compiler instrument; the
# address sanitizer is off, as what is fuzzed holds no unsafe code. New inputs stay in fuzz/target/corpus; a finding
# is left in fuzz/artifacts and ends the run. Bring a finding into fuzz/corpus and into a test.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="${1:-300}"
targets=("${@:2}")
((${#targets[@]})) || targets=(
    authority client_hello decision dns_query header_plan kernel_answer parent_answer path placeholder policy_document
    proxy_header scrubber
)

export RUSTC_BOOTSTRAP=1
for target in "${targets[@]}"; do
    printf '== %s for %s s\n' "$target" "$seconds"
    found="fuzz/target/corpus/$target"
    mkdir -p "$found"
    options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1)
    [[ -f "fuzz/$target.dict" ]] && options+=(-dict="fuzz/$target.dict")
    cargo fuzz run -s none "$target" "$found" "fuzz/corpus/$target" -- "${options[@]}"
done
