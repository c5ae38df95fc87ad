#!/usr/bin/env bash
# Measures the figures of docs/reference/performance.md on this machine, row by row: a fresh local cluster for the benchmarks,
# then one for the demo and one for the kills, with the load beside it.
# Usage: figures.sh DIR [ROUNDS]. Throughput and latency are the medians of ROUNDS runs (default 3).
# Fails if a request of a benchmark or of the demo failed, if the books differ, or if the kills have no clean verdict.
set -euo pipefail
dir=${1:?usage: figures.sh DIR [ROUNDS]}
rounds=${2:-3}
bin=${CARGO_TARGET_DIR:-target}/release
twinset=$bin/twinset
mkdir -p "$dir"

"$twinset" dev up --dir "$dir/cluster" --fresh --detach --base-port "${BASE_PORT:-7600}" >"$dir/up.txt" 2>&1
trap '"$twinset" dev down --dir "$dir/cluster" >/dev/null 2>&1' EXIT

measure() { # name, bench arguments...
    local name=$1
    shift
    for round in $(seq "$rounds"); do
        "$twinset" bench --dir "$dir/cluster" --json "$@" >"$dir/$name.$round.json"
    done
    python3 - "$dir/$name" "$rounds" "$name" <<'PY'
import json, statistics, sys
stem, rounds, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
runs = [json.load(open(f"{stem}.{n}.json"))["report"] for n in range(1, rounds + 1)]
pick = lambda f: statistics.median(f(run) for run in runs)
print(f"{name:22} {pick(lambda r: r['transfers_per_second']):>9.0f} transfers/s   "
      f"p50 {pick(lambda r: r['latency']['p50_us']) / 1000:.2f} ms   "
      f"p99 {pick(lambda r: r['latency']['p99_us']) / 1000:.2f} ms   "
      f"failed {sum(r['failed_requests'] for r in runs)}", flush=True)
PY
}

echo "machine: $(nproc) cores, $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(date -u +%Y-%m-%d)"
measure http-64 --connections 64 --accounts 10000 --seconds 10
measure grpc-64 --protocol grpc --connections 64 --accounts 10000 --seconds 10
measure http-64-hot --hot --connections 64 --accounts 10000 --seconds 10
measure batch-8000 --batch 8000 --connections 4 --accounts 10000 --seconds 10
measure across --across 100 --connections 64 --accounts 10000 --seconds 10
measure buffered --buffered --connections 64 --accounts 10000 --seconds 10
measure group-8 --group 8 --connections 64 --accounts 10000 --seconds 10
measure held --held 100 --connections 64 --accounts 10000 --seconds 10
measure batch-8000-across --batch 8000 --across 100 --connections 2 --accounts 10000 --seconds 10
measure http-1 --connections 1 --accounts 10000 --seconds 10
"$twinset" verify --dir "$dir/cluster"
# What follows has clusters of its own, which must not share the machine with this one.
"$twinset" dev down --dir "$dir/cluster"
"$twinset" demo --data "$dir/demo" --across 0 --switches 100 --kills 20 --pace 500 2>"$dir/demo.txt" | tail -n 12 || {
    tail -n 5 "$dir/demo.txt" >&2
    exit 1
}
"$bin/twinset-jepsen" kills --kills 200 --seed 7 --dir "$dir/kills" 2>"$dir/kills.txt" || {
    tail -n 5 "$dir/kills.txt" >&2
    exit 1
}
