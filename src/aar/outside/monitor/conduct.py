"""Conduct: work outside the declared plan, votes for each other, and more words than work."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

from aar.outside.monitor.sighting import Sighting, shown
from aar.verify.workflow import PLAIN_FAMILY

# Votes from one to another beyond what the voter built upon; each way of a ring.
RING_VOTES = 4
BURST_MS = 60_000
# In a minute: so many words without any work, and so many more for each method handed in.
BURST_WORDS = 60
WORDS_PER_SUBMISSION = 6
# A burst that goes on is told again after so long.
QUIET_MS = 600_000
SPOKEN = ("plan-declared", "finding", "comment", "vote", "task-proposed")


class Plans:
    """Steps of each declared plan; a submission belongs to one."""

    def __init__(self) -> None:
        self._steps: dict[int, dict[str, Mapping[str, Any]]] = {}
        self._used: Counter[tuple[str, str, str]] = Counter()

    def plan(self, index: int, body: Mapping[str, Any]) -> None:
        self._steps[index] = {step["name"]: step for step in body["steps"]}

    def submission(self, index: int, body: Mapping[str, Any]) -> Iterator[Sighting]:
        """A submission under a step that its plan lacks, of other ideas than the step names, or too many."""
        steps = self._steps.get(body["plan"], {})
        step = steps.get(body["step"])
        used = (body["researcher"], body["task"], body["step"])
        self._used[used] += 1
        why = ""
        if step is None:
            why = f"step {body['step']} is none of its steps: {', '.join(sorted(steps)[:16])}"
        else:
            declared, most = step.get("families", []), step.get("submissions", 0)
            strange = [one for one in body.get("families", []) if one not in declared and one != PLAIN_FAMILY]
            if declared and strange:
                why = f"step {body['step']} names {', '.join(declared)}, handed in was {', '.join(strange)}"
            elif most and self._used[used] > most:
                why = f"step {body['step']} says {most} submissions, this is number {self._used[used]}"
        if why:
            yield Sighting(
                code="plan-deviation",
                who=body["researcher"],
                what=f"submission {index} is not what plan {body['plan']} declares: {why}",
                evidence=shown([body["plan"], index]),
            )


class Votes:
    """Who votes for whom, and who builds on whom: the second is what the first is for."""

    def __init__(self) -> None:
        self._authors: dict[int, str] = {}
        self._votes: dict[str, dict[str, list[int]]] = {}
        self._built: Counter[tuple[str, str]] = Counter()
        self._is_told: set[frozenset[str]] = set()

    def finding(self, index: int, author: str, body: Mapping[str, Any]) -> None:
        self._authors[index] = author
        for other in {self._authors[one] for one in body["parents"] if one in self._authors}:
            self._built[author, other] += 1

    def vote(self, index: int, author: str, body: Mapping[str, Any]) -> Iterator[Sighting]:
        """A vote that closes a ring of researchers who vote for each other far beyond what they build on."""
        other = self._authors.get(body["on"], author)
        if body["value"] < 0 or other == author:
            return
        self._votes.setdefault(author, {}).setdefault(other, []).append(index)
        if not self._is_too_much(author, other):
            return
        ring = self._way(other, author)
        if not ring or frozenset(ring) in self._is_told:
            return
        self._is_told.add(frozenset(ring))
        pairs = [(one, ring[(at + 1) % len(ring)]) for at, one in enumerate(ring)]
        counts = [f"{one} for {another} {len(self._votes[one][another])} times" for one, another in pairs]
        yield Sighting(
            code="vote-ring",
            who=author,
            what=f"votes in a ring, each at least {RING_VOTES} beyond what the voter built on: "
            + ", ".join(counts[:16]),
            evidence=shown([vote for one, another in pairs for vote in self._votes[one][another]]),
        )

    def _is_too_much(self, voter: str, other: str) -> bool:
        return len(self._votes[voter][other]) - self._built[voter, other] >= RING_VOTES

    def _way(self, start: str, end: str) -> list[str]:
        """From `start` to `end` along votes that are too many; empty when there is no way."""
        before: dict[str, str] = {start: ""}
        todo = deque([start])
        while todo:
            here = todo.popleft()
            if here == end:
                way = [here]
                while before[way[-1]]:
                    way.append(before[way[-1]])
                return way[::-1]
            for other in self._votes.get(here, ()):
                if other not in before and self._is_too_much(here, other):
                    before[other] = here
                    todo.append(other)
        return []


class Bursts:
    """How much each researcher said and did in the last minute."""

    def __init__(self) -> None:
        self._said: dict[str, deque[tuple[int, int]]] = {}
        self._did: dict[str, deque[int]] = {}
        self._told_ms: dict[str, int] = {}

    def submission(self, received_ms: int, researcher: str) -> None:
        self._did.setdefault(researcher, deque()).append(received_ms)

    def said(self, index: int, received_ms: int, author: str) -> Iterator[Sighting]:
        """One more word of a researcher's, if it is one too many."""
        said = self._said.setdefault(author, deque())
        did = self._did.setdefault(author, deque())
        said.append((received_ms, index))
        while said[0][0] <= received_ms - BURST_MS:
            said.popleft()
        while did and did[0] <= received_ms - BURST_MS:
            did.popleft()
        most = BURST_WORDS + WORDS_PER_SUBMISSION * len(did)
        if len(said) <= most or received_ms - self._told_ms.get(author, -QUIET_MS) < QUIET_MS:
            return
        self._told_ms[author] = received_ms
        yield Sighting(
            code="burst",
            who=author,
            what=f"{len(said)} entries within a minute, beside {len(did)} submissions: {most} are enough for "
            "whoever works",
            evidence=shown([one for _at, one in said]),
        )
