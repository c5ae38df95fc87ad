#!/usr/bin/env bash
# Builds a node and a router with the bugs on purpose (ledger/src/canary.rs), sets them aside, and shows that the consistency tests
# catch each of them. Arguments go to `twinset-jepsen canaries`: `--sample 3`, or the names of some.
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
