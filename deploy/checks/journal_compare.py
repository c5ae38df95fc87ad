#!/usr/bin/env python3
"""Compares two beancount journals with beancount's own loader: no errors in either, and the same final balance of
every account in every commodity.

    journal_compare.py ORIGINAL OTHER

Exit code 0: equal. 1: they differ, or one has errors; what differs is printed. 64: wrong arguments.
Needs the `beancount` package; example_journal.sh installs one.
"""

import collections
import decimal
import os
import sys

# The loader leaves no cache file beside the journals.
os.environ["BEANCOUNT_DISABLE_LOAD_CACHE"] = "1"

try:
    from beancount import loader
    from beancount.core import data
    from beancount.parser import printer
except ModuleNotFoundError:
    sys.exit("this python has no beancount: run it with the one that deploy/checks/example_journal.sh installs")

SHOWN_MAX = 20


def load(path):
    """The transactions of a journal, and what beancount says against it."""
    entries, errors, _ = loader.load_file(path)
    return [entry for entry in entries if isinstance(entry, data.Transaction)], errors


def balances(transactions):
    """Final balance by (account, commodity); zero balances are left out."""
    sums = collections.defaultdict(decimal.Decimal)
    for transaction in transactions:
        for posting in transaction.postings:
            sums[(posting.account, posting.units.currency)] += posting.units.number
    return {key: number for key, number in sums.items() if number != 0}


def differences(original, other):
    """One line for every balance that differs."""
    lines = []
    for account, commodity in sorted(original.keys() | other.keys()):
        left = original.get((account, commodity), decimal.Decimal(0))
        right = other.get((account, commodity), decimal.Decimal(0))
        if left != right:
            lines.append(f"{account} {commodity}: {left} in the original, {right} in the other")
    return lines


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 64
    decimal.getcontext().prec = 60
    complaints = []
    found = []
    for path in arguments:
        transactions, errors = load(path)
        for error in errors:
            complaints.append(f"{path}: {printer.format_error(error).strip()}")
        found.append((transactions, balances(transactions)))
    (original, left), (other, right) = found
    if not original:
        complaints.append(f"{arguments[0]}: no transactions")
    complaints += differences(left, right)
    for line in complaints[:SHOWN_MAX]:
        print(line)
    if len(complaints) > SHOWN_MAX:
        print(f"(and {len(complaints) - SHOWN_MAX} more)")
    if complaints:
        return 1
    accounts = len({account for account, _ in left})
    print(
        f"equal: {len(left)} balances of {accounts} accounts;"
        f" {len(original)} transactions in the original, {len(other)} in the other"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
