#!/usr/bin/env bash
# Measures what moves and losses of sites cost (docs/reference/performance.md, "Moves and lost sites"): real processes, each in a
# network of its own, the sites so many milliseconds apart, under payments at 30% of what the cluster takes in closed loops.
# Usage: sites.sh DIR [DELAY_MS...] (default: 0 1 5). Each figure is a number of drills, kept under DIR; what is there already is not played
# again, so that a run that was broken off goes on where it stopped. SWITCHES, KILLS, SITES, LINKS and EVACUATIONS say how many
# of each (default: 1000 100 20 10 5), SETS how many sets there are but for the evacuations, which have 64.
set -euo pipefail
dir=${1:?usage: sites.sh DIR [DELAY_MS...]}
shift
[[ $# -gt 0 ]] || set -- 0 1 5
cd "$(dirname "$0")/../.."
bin=${CARGO_TARGET_DIR:-target}/release
drill=("$bin/twinset" drill run --override capacity --yes --why "figures")
mkdir -p "$dir"

up() { # delay, sets
    cluster=$dir/cluster
    : >"$dir/apart.txt"
    "$bin/twinset-jepsen" apart --dir "$cluster" --delay-ms "$1" --sets "$2" >"$dir/apart.txt" 2>&1 &
    apart=$!
    trap 'kill "$apart" 2>/dev/null; wait "$apart" 2>/dev/null || true' EXIT
    until grep -q 'Ctrl-C ends it' "$dir/apart.txt"; do
        kill -0 "$apart" || { cat "$dir/apart.txt" >&2; exit 1; }
        sleep 0.5
    done
    load=$("$bin/twinset" bench --dir "$cluster" --connections 64 --accounts 2000 --seconds 5 --json |
        python3 -c 'import json, sys; print(int(json.load(sys.stdin)["report"]["transfers_per_second"] * 0.3))')
    echo "$1 ms between the sites, $2 sets: $load payments per second are 30%"
}

down() {
    kill "$apart"
    wait "$apart" || { cat "$dir/apart.txt" >&2; exit 1; }
    trap - EXIT
}

# Plays a scenario until there are so many records of it; each of them may count for several.
rows() { # records, scenarios, name, wanted
    local tries=0
    mkdir -p "$1"
    while
        have=$(find "$1" -name "*-$3.json" | wc -l)
        [[ $have -lt $4 ]]
    do
        "${drill[@]}" "$3" --dir "$cluster" --scenarios "$2" --records "$1" --load "$load" >"$dir/drill.txt" 2>&1 || {
            # A drill that fails its criteria is a figure like another; one that could not be played is none, and is tried again
            # while the cluster still gets over the one before.
            if [[ $(find "$1" -name "*-$3.json" | wc -l) -eq $have ]]; then
                [[ $((tries += 1)) -lt 30 ]] || { tail -n 20 "$dir/drill.txt" >&2; exit 1; }
                sleep 2
                continue
            fi
        }
    done
}

for delay in "$@"; do
    records=$dir/$delay-ms
    up "$delay" "${SETS:-4}"
    rows "$records" deploy/checks/sites switches $(((${SWITCHES:-1000} + 49) / 50))
    rows "$records" deploy/drills leader-killed "${KILLS:-100}"
    rows "$records" deploy/drills home-site-lost "${SITES:-20}"
    rows "$records" deploy/drills away-site-lost "${SITES:-20}"
    rows "$records" deploy/drills link-cut "${LINKS:-10}"
    down
    if [[ ${EVACUATIONS:-5} -gt 0 ]]; then
        up "$delay" 64
        rows "$records" deploy/drills evacuate-staged "${EVACUATIONS:-5}"
        rows "$records" deploy/drills evacuate-emergency "${EVACUATIONS:-5}"
        down
    fi
    echo "machine: $(nproc) cores, $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(date -u +%Y-%m-%d)"
    "$bin/twinset" drill figures --records "$records"
done
