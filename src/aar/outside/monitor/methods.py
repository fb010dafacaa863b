"""What was handed in before: the same bytes, the same in other bytes, the same again and again for luck.

An official run's seeds follow from the snapshot's bytes, so a method under other bytes is drawn anew: whoever
does that often enough gets the best of many draws. Trying other values of a parameter is none of this.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aar.outside.monitor.fingerprint import Fingerprint, fingerprint_of, pipeline_fingerprint, pipeline_in
from aar.outside.monitor.sighting import Sighting, shown

# So many variants of one method by one researcher, each with a draw of its own, are a lottery.
LUCKY_VARIANTS = 3

Snapshot = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class _HandedIn:
    """An earlier submission; `receipt` is that of its explored run, or -1 while it has none."""

    index: int
    researcher: str
    digest: str
    task: str


@dataclass(slots=True)
class _Row:
    """Variants of one method by one researcher: submissions by digest, and what was released of them."""

    submissions: dict[str, int] = field(default_factory=dict)
    receipts: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    is_told: bool = False


class Methods:
    """Everything that was handed in, by what it does; `snapshot` gives a blob's bytes where it is there."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._fingerprints: dict[str, Fingerprint] = {}
        self._pipelines: dict[str, str] = {}
        self._by_digest: dict[str, list[_HandedIn]] = {}
        self._by_same: dict[str, list[_HandedIn]] = {}
        self._rows: dict[tuple[str, str], _Row] = {}
        self._listed: set[tuple[str, str]] = set()
        self._is_explored: set[int] = set()

    def task_opened(self, body: Mapping[str, Any]) -> None:
        """A human's list of pipelines: whoever hands one in does as told."""
        for step in body["steps"]:
            for text in step["pipelines"]:
                found = pipeline_fingerprint(text)
                if found is not None:
                    self._listed.add((body["task"], found))

    def submission(self, index: int, body: Mapping[str, Any]) -> Iterator[Sighting]:
        """What this submission has in common with earlier ones."""
        mine = _HandedIn(index, body["researcher"], body["digest"], body["task"])
        prints = self._fingerprint(mine.digest)
        row = self._rows.setdefault((mine.researcher, prints.variant), _Row())
        if not self._is_asked_for(mine):
            row.submissions.setdefault(mine.digest, index)
            yield from self._again(mine, prints)
        self._by_digest.setdefault(mine.digest, []).append(mine)
        self._by_same.setdefault(prints.same, []).append(mine)

    def receipt(self, index: int, body: Mapping[str, Any]) -> Iterator[Sighting]:
        """An explored run's outcome, which completes a row of draws or shows that it is none."""
        if body["tier"] != "explore":
            return
        self._is_explored.add(body["submission"])
        row = self._rows.get((body["researcher"], self._fingerprint(body["digest"]).variant))
        if row is None or body["digest"] not in row.submissions or row.is_told:
            return
        if body["outcome"] == "scored":
            row.receipts[body["digest"]] = index, body["released"]
        if len(row.receipts) >= LUCKY_VARIANTS and _is_noise([one for _at, one in row.receipts.values()]):
            row.is_told = True
            evidence = [
                *(row.submissions[one] for one in row.receipts),
                *(at for at, _ in row.receipts.values()),
            ]
            yield Sighting(
                code="resubmitted-for-luck",
                who=body["researcher"],
                what=f"{len(row.receipts)} submissions do the same in other bytes with other seeds each, and "
                "what they scored differs by no more than chance",
                evidence=shown(evidence),
            )

    def _again(self, mine: _HandedIn, prints: Fingerprint) -> Iterator[Sighting]:
        first = self._earlier(mine, self._by_digest.get(mine.digest, []))
        if first is not None:
            yield Sighting(
                code="duplicate-submission",
                who=mine.researcher,
                what=f"entry {mine.index} hands in the bytes of {_whose(first, mine)} entry {first.index}",
                evidence=(first.index, mine.index),
            )
            return
        others = (one for one in self._by_same.get(prints.same, []) if one.digest != mine.digest)
        first = self._earlier(mine, others)
        if first is not None:
            yield Sighting(
                code="near-duplicate-submission",
                who=mine.researcher,
                what=f"entry {mine.index} does what {_whose(first, mine)} entry {first.index} does, in other "
                "bytes: the seeds are drawn again and nothing else is new",
                evidence=(first.index, mine.index),
            )

    def _earlier(self, mine: _HandedIn, handed_in: Iterable[_HandedIn]) -> _HandedIn | None:
        """The first of them that this one repeats.

        Two who have the same idea at the same time repeat nobody: another's counts once its receipt was there
        to be read. And anybody may run the plain student.
        """
        for one in handed_in:
            if one.researcher == mine.researcher:
                return one
            if one.index in self._is_explored and self._pipeline(mine.digest) not in _plain():
                return one
        return None

    def _is_asked_for(self, mine: _HandedIn) -> bool:
        return (mine.task, self._pipeline(mine.digest)) in self._listed

    def _pipeline(self, digest: str) -> str:
        self._fingerprint(digest)
        return self._pipelines[digest]

    def _fingerprint(self, digest: str) -> Fingerprint:
        """By the digest alone where the snapshot is gone: it is like nothing then but itself."""
        if digest not in self._fingerprints:
            data = self._snapshot(digest)
            if data is None:
                self._fingerprints[digest], self._pipelines[digest] = Fingerprint(digest, digest), ""
            else:
                files = json.loads(data)["files"]
                self._fingerprints[digest] = fingerprint_of(files)
                self._pipelines[digest] = pipeline_in(files) or ""
        return self._fingerprints[digest]


@cache
def _plain() -> frozenset[str | None]:
    """Fingerprints of the plain student, which everybody hands in."""
    from aar.lab.pipeline import VANILLA

    return frozenset(pipeline_fingerprint(one) for one in ('[["probe", {}]]', VANILLA))


def _whose(first: _HandedIn, mine: _HandedIn) -> str:
    return "its own" if first.researcher == mine.researcher else f"{first.researcher}'s"


def _is_noise(released: list[Mapping[str, Any]]) -> bool:
    """Whether every value that was told lies within the interval of every other one."""
    told = [one for one in released if one.get("improved")]
    if not told:
        return True
    values = [float(one["pgr"]) for one in told]
    is_low = max(float(one["low"]) for one in told) <= min(values)
    return is_low and max(values) <= min(float(one["high"]) for one in told)
