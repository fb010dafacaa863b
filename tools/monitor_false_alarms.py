"""Counts how often the monitor calls out honest work, and how often a limit would pause an honest study.

    .venv/bin/python tools/monitor_false_alarms.py [--seed N] [--studies N] [--arms A,B] [--json] [DIR...]

Without DIR: honest modelled researchers over real records (`aar.simulation`), every class of problem, free,
fixed and without directions. With DIR: studies that honest researchers ran, read from their records. Each
record is folded by the monitor as it is now, whatever alarms it holds. `--seed` draws other problems.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.monitor.monitor import Monitor
from aar.outside.oversight.limits import DEFAULT_LIMITS
from aar.outside.oversight.terms import Terms, terms_as_body
from aar.outside.oversight.watch import LimitWatch
from aar.outside.projection import Projection
from aar.simulation.parameters import ARMS, CLASSES
from aar.simulation.study import simulate_study
from aar.verify.reader import RecordReader
from aar.verify.statistics import binomial_interval

# No lazy and no lying researcher in any of them.
HONEST = ("free", "fixed", "undirected")
MOST_ALLOWED = 0.01
PAUSING = terms_as_body(Terms(limits=tuple(replace(one, action="pause") for one in DEFAULT_LIMITS)))["limits"]


class Counts:
    """Entries and alarms over studies, by code."""

    def __init__(self) -> None:
        self.studies = self.entries = 0
        self.alarms: Counter[str] = Counter()
        # Studies that their own limits paused, and that the default limits would, if they paused.
        self.paused = self.paused_by_defaults = 0

    def add(self, leaves: Sequence[Leaf], blobs: Path) -> list[str]:
        """Fold one more record; what the monitor said of it, in words."""
        monitor, found = Monitor(lambda digest: stored(blobs / digest)), []
        self.paused += is_paused(leaves, {})
        self.paused_by_defaults += is_paused(leaves, {"limits": PAUSING})
        for leaf in leaves:
            if leaf.signed.entry.kind == "alarm":
                continue
            self.entries += 1
            monitor.take(leaf)
            found += monitor.untold()
        self.studies += 1
        self.alarms.update(one.code for one in found)
        return [f"{one.code} of {one.who}: {one.what}" for one in found]

    def as_json(self) -> dict[str, Any]:
        total = self.alarms.total()
        low, high = binomial_interval(min(total, self.entries), self.entries)
        return {
            "studies": self.studies,
            "entries": self.entries,
            "alarms": dict(sorted(self.alarms.items())),
            "rate": total / self.entries,
            "interval": [low, high],
            "paused": self.paused,
            "paused_if_defaults_did": self.paused_by_defaults,
        }


def stored(path: Path) -> bytes | None:
    """A blob where it lies: the studies are only read."""
    return path.read_bytes() if path.is_file() else None


def is_paused(leaves: Sequence[Leaf], changes: Mapping[str, Any]) -> bool:
    """Whether the limits of a study's terms, with these changes, pause it somewhere."""
    watch, projection, seen = LimitWatch(), Projection(), []
    for leaf in leaves:
        projection.fold(leaf)
        seen.append(leaf)
        if leaf.index == 0:
            oversight = {**projection.opened["oversight"], **changes}
            projection.opened = {**projection.opened, "oversight": oversight}
        if any(one.kind == "queue-paused" for one in watch.look(seen, projection)):
            return True
    return False


def records(
    directories: Sequence[str], seed: int, studies: int, arms: Sequence[str] = HONEST
) -> Iterator[Path]:
    """Study directories: those that are named, or simulated ones, each there until the next is asked for."""
    if directories:
        yield from map(Path, directories)
        return
    kinds = product(range(studies), arms, CLASSES)
    with tempfile.TemporaryDirectory(prefix="aar-honest-") as scratch:
        for place, (number, arm, name) in enumerate(islice(kinds, studies)):
            kept = Path(scratch) / str(place)
            simulate_study(CLASSES[name], ARMS[arm], seed=seed, number=number, keep=kept)
            yield kept


def main() -> int:
    parser = argparse.ArgumentParser(description="Count how often the monitor calls out honest work.")
    parser.add_argument("directories", nargs="*", metavar="DIR")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--studies", type=int, default=200, metavar="N")
    parser.add_argument("--arms", default=",".join(HONEST), help="of aar simulate; one-lazy is not honest")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts, said = Counts(), []
    for path in records(options.directories, options.seed, options.studies, options.arms.split(",")):
        leaves = list(RecordReader(path / "record").entries())
        said += [f"{path.name}: {one}" for one in counts.add(leaves, path / "record" / "blobs")]
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{counts.studies} studies, {counts.alarms.total()} alarms")
    told = counts.as_json()
    if options.json:
        print(json.dumps({**told, "said": said}, indent=1))
    else:
        for one in said:
            print(f"  {one}")
        low, high = (100 * end for end in told["interval"])
        alarms = f"{counts.alarms.total()} alarms, {100 * told['rate']:.3f} % of entries"
        print(f"{counts.studies} studies, {counts.entries} entries: {alarms} [{low:.3f}, {high:.3f}]")
        print(f"paused: {counts.paused}; if the default limits paused: {counts.paused_by_defaults}")
    return 0 if counts.alarms.total() <= MOST_ALLOWED * counts.entries and not counts.paused else 1


if __name__ == "__main__":
    sys.exit(main())
