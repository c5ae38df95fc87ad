#!/usr/bin/env bash
# Kills processes and switches sets in turn under traffic, in runs that all checkers judge, until so many of both were done
# (docs/reference/consistency.md, "Endurance").
# Usage: endurance.sh DIR. Each run is a part of TIME seconds (default: 600); what came of it is kept in DIR, and a run that was broken off
# is played again, so that it goes on where it stopped. KILLS and SWITCHES say how many (default: 1000 and 10000). A part that was judged
# and is not valid is set aside whole, and nothing goes on until somebody has looked at it and taken it away.
set -euo pipefail
dir=${1:?usage: endurance.sh DIR}
cd "$(dirname "$0")/../.."
bin=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$dir/parts"

# Prints the sums of all parts; 3 while something is left to do.
sums() {
    python3 - "${KILLS:-1000}" "${SWITCHES:-10000}" "$dir"/parts/*.json <<'PY'
import json, pathlib, sys

kills = switches = operations = seconds = 0
parts = [json.loads(path.read_text()) for path in map(pathlib.Path, sys.argv[3:]) if path.exists()]
for part in parts:
    operations += part["counts"]["operations"]
    seconds += part["seconds"]
    for done in part["faults"]:
        fault, evidence = done["fault"], done["evidence"] or {"detail": "0 of 0"}
        if fault["fault"] == "kill":
            kills += len(fault["victims"]) * (1 if fault["again_ms"] is None else 2)
        if fault["fault"] == "switches":
            switches += int(evidence["detail"].split(" of ")[0])
print(f"{len(parts)} parts, {seconds / 60:.0f} minutes: {kills} kills, {switches} switches, {operations} operations")
sys.exit(0 if kills >= int(sys.argv[1]) and switches >= int(sys.argv[2]) else 3)
PY
}

part=0
while true; do
    for wrong in "$dir"/wrong-*; do
        [[ ! -e $wrong ]] || { echo "a part went wrong: $wrong" >&2; exit 1; }
    done
    left=0
    sums || left=$?
    [[ $left -ne 0 ]] || exit 0
    [[ $left -eq 3 ]] || exit "$left"
    while [[ -e $dir/parts/$part.json ]]; do
        part=$((part + 1))
    done
    "$bin/twinset-jepsen" run --plain --workload mixed --nemesis kill,switches --time "${TIME:-600}" --seed "$((1000 + part))" \
        --dir "$dir/run" >"$dir/run.txt" 2>&1 || {
        tail -n 30 "$dir/run.txt" >&2
        # Without results it was broken off, and says nothing.
        [[ ! -e $dir/run/results.json ]] || mv "$dir/run" "$dir/wrong-$part"
        exit 1
    }
    mv "$dir/run/results.json" "$dir/parts/$part.json"
done
