#!/usr/bin/env bash
# Every check there is. Needs cargo with rustfmt and clippy, and gcc; a test whose tool (curl, openssl, ip, nft,
# promtool, python) is missing, or that needs root and has it not, says so and is skipped, or fails where
# SLUICEGATE_REQUIRE_TOOLS=1.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
if [[ -z "${SLUICEGATE_TEST_PYTHON:-}" && -x target/venv/bin/python ]]; then
    export SLUICEGATE_TEST_PYTHON="$PWD/target/venv/bin/python"
fi

step() {
    printf '\n== %s\n   %s\n' "$1" "${*:2}"
    local begun=$SECONDS
    "${@:2}"
    printf '   done in %d s\n' $((SECONDS - begun))
}

step "format" cargo fmt --check
step "lints" cargo clippy --locked --all-targets -- -D warnings
step "the core alone, without anything that does IO" cargo check --locked --no-default-features --lib
step "layers" cargo test --locked --quiet --test it layers
step "tests" cargo test --locked --lib --bins --tests
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
step "examples in the documentation" cargo test --locked --doc
printf '\nall checks passed in %d s\n' "$SECONDS"
