#!/usr/bin/env bash
# Builds a node and a router with the bugs on purpose (ledger/src/canary.rs), sets them aside, and shows that the consistency tests
# catch each of them. Arguments go to `twinset-jepsen canaries`: `--sample 3`, or the names of some. What no run lets happen is let out in
# a test that must fail then, and pass without it.
set -euo pipefail
target=${CARGO_TARGET_DIR:-target}
features=twinset-node/canaries,twinset-router/canaries
aside=$target/canaries

cargo build --release --workspace --bin twinset-node --bin twinset-router --features "$features"
mkdir -p "$aside"
cp "$target/release/twinset-node" "$target/release/twinset-router" "$aside/"
# The same names once more, without the bugs.
cargo build --release --workspace
"$target/release/twinset-jepsen" canaries --bin-dir "$aside" "$@"

# name, test binary, test
named() {
    local run=(cargo test --release -p twinset-jepsen --test "$2" "$3")
    TWINSET_TEST_BIN_DIR=$aside "${run[@]}"
    if TWINSET_TEST_BIN_DIR=$aside TWINSET_CANARY=$1 "${run[@]}"; then
        echo "$1 was missed by $2 $3" >&2
        exit 1
    fi
    echo "$1: caught by $2 $3"
}
# A sample is for every commit, and short.
case " $* " in *" --sample "*) exit 0 ;; esac
named lease-not-waited-out net a_site_that_is_cut_off_answers_nothing_once_its_set_has_answered_in_the_other_one
