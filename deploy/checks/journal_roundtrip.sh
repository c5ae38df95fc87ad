#!/usr/bin/env bash
# Books the example journal on a fresh local cluster, writes it back out, and lets beancount's own tools judge: the export
# must pass bean-check, and every account's final balance must equal the original's.
# Usage: journal_roundtrip.sh DIR
set -euo pipefail
dir=${1:?usage: journal_roundtrip.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
twinset=${CARGO_TARGET_DIR:-target}/release/twinset

"$here/example_journal.sh" "$dir/journal"
journal=$dir/journal/example.beancount
"$twinset" dev up --dir "$dir/cluster" --fresh --detach --base-port "${BASE_PORT:-7800}"
trap '"$twinset" dev down --dir "$dir/cluster"' EXIT
"$twinset" import --dir "$dir/cluster" --format beancount --tag example "$journal"
"$twinset" import --dir "$dir/cluster" --format beancount --tag example "$journal"
"$twinset" export --dir "$dir/cluster" --format beancount --tag example -o "$dir/export.beancount"
"$twinset" verify --dir "$dir/cluster"
"$dir/journal/venv/bin/bean-check" "$dir/export.beancount"
"$dir/journal/venv/bin/python" "$here/journal_compare.py" "$journal" "$dir/export.beancount"
