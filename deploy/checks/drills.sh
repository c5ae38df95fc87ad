#!/usr/bin/env bash
# Plays every scenario of deploy/drills on a local cluster under synthetic traffic, one after the other, and keeps the reports.
# Arguments go to `twinset drill run`: names of scenarios (default: --all), `--patience 3`, `--load 500`.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${DRILLS_DIR:-demo-data/drills}
bin=${CARGO_TARGET_DIR:-target}/release
[[ $# -gt 0 && $1 != --* ]] || set -- --all "$@"

trap '"$bin/twinset" dev down --dir "$dir/cluster" >&2' EXIT
"$bin/twinset" dev up --dir "$dir/cluster" --fresh --detach --drill-faults --sets 8
# Every process of this cluster has the same two processors: what a site that takes over would use says nothing here.
"$bin/twinset" drill run --dir "$dir/cluster" --records "$dir/reports" --override capacity --yes --why "make drills" "$@"
