#!/bin/sh
# Installs beancount into DIRECTORY/venv (from PyPI, once) and generates its example journal as
# DIRECTORY/example.beancount. Version, seed and dates are fixed: the file is the same every time.
#
#     deploy/checks/example_journal.sh DIRECTORY
#
# Afterwards DIRECTORY/venv/bin has bean-check, and python to run deploy/checks/journal_compare.py with.
set -eu

VERSION=3.2.3

if [ $# -ne 1 ]; then
    echo "usage: $0 DIRECTORY" >&2
    exit 64
fi
mkdir -p "$1"
directory=$(cd "$1" && pwd)
venv="$directory/venv"
journal="$directory/example.beancount"

if ! "$venv/bin/python" -c "import beancount; assert beancount.__version__ == '$VERSION'" 2>/dev/null; then
    echo "installing beancount $VERSION into $venv" >&2
    python3 -m venv "$venv" || {
        echo "python3 cannot make a virtual environment: apt-get install python3-venv" >&2
        exit 1
    }
    "$venv/bin/pip" install --quiet --disable-pip-version-check "beancount==$VERSION" || {
        echo "pip cannot install beancount $VERSION: is PyPI reachable from here?" >&2
        exit 1
    }
fi

if [ ! -s "$journal" ]; then
    # Sets of strings decide some choices of the generator: their order must not depend on the process.
    PYTHONHASHSEED=0 "$venv/bin/bean-example" --seed 20260101 --date-birth 1980-05-12 \
        --date-begin 2016-01-01 --date-end 2025-12-31 --output "$journal.new"
    mv "$journal.new" "$journal"
fi
# No cache file beside the journal.
BEANCOUNT_DISABLE_LOAD_CACHE=1 "$venv/bin/bean-check" "$journal"
echo "$journal"
