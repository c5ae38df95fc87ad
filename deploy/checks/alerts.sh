#!/usr/bin/env bash
# Checks the alert rules with promtool, plays their tests, and looks that every metric in them is one that the reference names. Without
# promtool on the path Debian's package is unpacked aside; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
aside=${CARGO_TARGET_DIR:-$PWD/target}/promtool

if ! command -v promtool >/dev/null; then
    if [ ! -x "$aside/usr/bin/promtool" ]; then
        mkdir -p "$aside"
        (cd "$aside" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb)
    fi
    PATH=$PATH:$aside/usr/bin
fi
promtool check rules deploy/alerts/twinset.yml
promtool test rules deploy/alerts/tests.yml
for metric in $(grep -oE 'twinset_[a-z_]+' deploy/alerts/twinset.yml | sort -u); do
    grep -q "^| \`$metric\`" docs/reference/metrics.md || { echo "$metric is not in docs/reference/metrics.md" >&2; exit 1; }
done
for runbook in $(grep -oE 'docs/operating/[a-z-]+\.md' deploy/alerts/twinset.yml | sort -u); do
    [ -f "$runbook" ] || { echo "there is no $runbook" >&2; exit 1; }
done
