"""The monitor: what looks wrong in a record, entry by entry, each with the entries that show it.

It is a fold over the entries and the snapshots that they name, and holds nothing else: whoever folds the same
record again sees the same. What it sees becomes an `alarm`, which is a reason to look and not a verdict.
docs/monitor.md has each code, its threshold, how often honest work raises it, and how to get past it.
"""
