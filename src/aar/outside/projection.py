"""What the record says now: tasks, leases, budgets, receipts, findings, folded from its entries.

A projection is never a source of truth. It is rebuilt from the entries at every start, states the tree
size it stands for, and is safe to throw away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from aar.formats.canonical import format_canonical
from aar.formats.entry import Leaf
from aar.formats.keys import VerifierKey, parse_vkey
from aar.verify.decisions import Basis, basis_of, claimed_by
from aar.verify.holds import Holds
from aar.verify.limits import Account
from aar.verify.spending import STUDY, Spending
from aar.verify.splits import run_label
from aar.verify.statistics import detectable_difference

# Asked for at every look at a study.
_detectable = lru_cache(maxsize=8)(detectable_difference)


@dataclass(slots=True, kw_only=True)
class Task:
    """A research problem on the queue and who works on it."""

    name: str
    index: int
    title: str
    direction: str
    workflow: str
    steps: list[Mapping[str, Any]]
    scope: Mapping[str, Any]
    submissions: int
    priority: int
    risk: str
    used: int = 0
    # What its holder was told to look into, and everybody who held it.
    told: str = ""
    holders: list[str] = field(default_factory=list)
    researcher: str = ""
    lease_until_ms: int = 0
    epoch: int = 0
    plan: int = -1
    plan_entries: list[int] = field(default_factory=list)
    outcome: str = ""
    reason: str = ""

    @property
    def state(self) -> str:
        """`open`, `leased`, or how it ended."""
        return self.outcome or ("leased" if self.researcher else "open")

    @property
    def submissions_left(self) -> int:
        """0 where a limit was set below what was handed in."""
        return max(self.submissions - self.used, 0)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it was given: to whom, of which task, and with which direction."""

    researcher: str
    task: str
    direction: str


@dataclass(slots=True, kw_only=True)
class Submission:
    """A method handed in, and its receipts by the label of their run. `confirmation` is its charge, or -1."""

    index: int
    received_ms: int
    body: Mapping[str, Any]
    receipts: dict[str, int] = field(default_factory=dict)
    confirmation: int = -1


@dataclass(slots=True, kw_only=True)
class Finding:
    """A forum entry of a researcher and what was decided about it."""

    index: int
    author: str
    received_ms: int
    digest: str
    body: Mapping[str, Any]
    decision: str = ""
    comments: list[int] = field(default_factory=list)
    votes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Chain:
    """Where an author's own numbering stands: the next `seq` and the digest it must follow."""

    seq: int = 0
    prev: str = ""


class Projection:
    """The state of one study after `tree_size` entries."""

    def __init__(self) -> None:
        self.tree_size = 0
        self.origin = ""
        self.opened: Mapping[str, Any] = {}
        self.closed: Mapping[str, Any] = {}
        self.roles: dict[str, str] = {}
        self.keys: dict[str, VerifierKey] = {}
        self.chains: dict[str, Chain] = {}
        self.tasks: dict[str, Task] = {}
        self.submissions: dict[int, Submission] = {}
        self.requests: dict[tuple[str, str], int] = {}
        self.receipts: dict[int, Mapping[str, Any]] = {}
        self.revealed: dict[tuple[int, str], Mapping[str, Any]] = {}
        self.released: dict[str, Mapping[str, Any]] = {}
        self.findings: dict[int, Finding] = {}
        self.proposals: dict[int, dict[str, Any]] = {}
        self.alarms: list[dict[str, Any]] = []
        self.alarm_counts: dict[tuple[str, str], int] = {}
        self.kinds: dict[int, str] = {}
        self.authors: dict[int, str] = {}
        self.said: dict[tuple[str, str, str], int] = {}
        self.plans: dict[int, Mapping[str, Any]] = {}
        self.leases: list[Lease] = []
        # The pause that holds, or -1.
        self.paused = -1
        self.pauses: dict[int, Mapping[str, Any]] = {}
        # By researcher: the pause that holds for it alone.
        self.stops: dict[str, int] = {}
        self.spending = Spending()
        self.holds = Holds()
        self.account = Account()
        self.charged = 0
        self.confirmed = 0
        self.redacted: set[str] = set()
        self.last_received_ms = 0

    @classmethod
    def of(cls, leaves: Iterable[Leaf]) -> Projection:
        """Fold a whole record."""
        projection = cls()
        for leaf in leaves:
            projection.fold(leaf)
        return projection

    def chain(self, author: str) -> Chain:
        return self.chains.get(author, Chain())

    def fold(self, leaf: Leaf) -> None:
        """Take in the next entry, which was admitted: nothing is checked here."""
        entry = leaf.signed.entry
        body: Mapping[str, Any] = entry.body
        self.account.pass_time(leaf.received_ms)
        self.last_received_ms = leaf.received_ms
        self.tree_size = leaf.index + 1
        self.kinds[leaf.index] = entry.kind
        self.authors[leaf.index] = entry.author
        self.chains[entry.author] = Chain(seq=entry.seq + 1, prev=leaf.signed.text_digest)
        handler = getattr(self, "_fold_" + entry.kind.replace("-", "_"), None)
        if handler is not None:
            handler(leaf, body)
        self.holds.take(leaf.index, entry)

    # One method per kind that changes the state; the names are the kinds.

    def _fold_study_opened(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.origin = leaf.signed.entry.origin
        self.opened = body
        self.spending.open(body["models"], body["monitor"])
        self.account.open(body)
        for key in body["keys"]:
            self.roles[key["name"]] = key["role"]
            self.keys[key["name"]] = parse_vkey(key["vkey"])

    def _fold_study_closed(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.closed = body

    def _fold_task_opened(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.tasks[body["task"]] = Task(
            name=body["task"],
            index=leaf.index,
            title=body["title"],
            direction=body["direction"],
            workflow=body["workflow"],
            steps=list(body["steps"]),
            scope=body["scope"],
            submissions=body["submissions"],
            priority=body["priority"],
            risk=body["risk"],
        )
        self.spending.open_task(body)
        self.account.open_task(body)

    def _fold_task_proposed(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.proposals[leaf.index] = {
            **body,
            "index": leaf.index,
            "author": leaf.signed.entry.author,
            "state": "open",
        }
        self._remember(leaf)

    def _fold_task_approved(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.proposals[body["proposal"]]["state"] = "approved"

    def _fold_task_refused(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.proposals[body["proposal"]]["state"] = "refused"

    def _fold_task_leased(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.account.lease(body)
        task = self.tasks[body["task"]]
        task.researcher = body["researcher"]
        task.lease_until_ms = body["until_ms"]
        task.epoch = body["epoch"]
        task.told = body["direction"]
        # Of who comes back to a task its own last plan holds, not that of who had it meanwhile.
        own = [one for one in task.plan_entries if self.authors[one] == body["researcher"]]
        task.plan = max(own, default=-1)
        if body["researcher"] not in task.holders:
            task.holders.append(body["researcher"])
        # One that was over when it was given takes the task away: nobody was told anything.
        if body["until_ms"] > leaf.signed.entry.at:
            self.leases.append(Lease(body["researcher"], body["task"], body["direction"]))

    def _fold_task_closed(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.account.close_task(body)
        task = self.tasks[body["task"]]
        task.outcome = body["outcome"]
        task.reason = body["reason"]

    def _fold_plan_declared(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        task = self.tasks[body["task"]]
        task.plan = leaf.index
        self.plans[leaf.index] = body
        task.plan_entries.append(leaf.index)
        self._remember(leaf)

    def _fold_submission(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.account.submit(body)
        self.submissions[leaf.index] = Submission(index=leaf.index, received_ms=leaf.received_ms, body=body)
        self.requests[body["researcher"], body["request"]] = leaf.index

    def _fold_budget_charged(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        if body["what"] == "tokens":
            self.spending.charge(body)
            return
        if body["what"] == "sandbox":
            self.account.charge(body)
            return
        if body["what"] == "confirmations":
            self.confirmed += body["amount"]
            self.submissions[body["submission"]].confirmation = leaf.index
            return
        self.tasks[body["task"]].used += body["amount"]
        self.charged += body["amount"]

    def _fold_score_receipt(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.receipts[leaf.index] = {**body, "received_ms": leaf.received_ms}
        label = run_label(body["tier"], body["problem"])
        self.submissions[body["submission"]].receipts[label] = leaf.index
        if body["released"] and body["tier"] == "explore":
            self.released[body["researcher"]] = body["released"]

    def _fold_score_revealed(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.revealed[body["receipt"], body["half"]] = body

    def _fold_finding(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.findings[leaf.index] = Finding(
            index=leaf.index,
            author=leaf.signed.entry.author,
            received_ms=leaf.received_ms,
            digest=leaf.signed.text_digest,
            body=body,
        )
        self._remember(leaf)

    def _fold_comment(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        finding = self.findings.get(body["on"])
        if finding is not None:
            finding.comments.append(leaf.index)
        self._remember(leaf)

    def _fold_vote(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.findings[body["on"]].votes[leaf.signed.entry.author] = body["value"]
        self._remember(leaf)

    def _fold_decision(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.findings[body["finding"]].decision = body["decision"]

    def _fold_alarm(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.alarms.append({**body, "index": leaf.index, "received_ms": leaf.received_ms})
        counted = (body["who"], body["code"])
        self.alarm_counts[counted] = self.alarm_counts.get(counted, 0) + 1

    def _fold_queue_paused(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.pauses[leaf.index] = body
        if body["researcher"]:
            self.stops[body["researcher"]] = leaf.index
        else:
            self.paused = leaf.index

    def _fold_queue_resumed(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        if body["pause"] == self.paused:
            self.paused = -1
        self.stops = {name: stop for name, stop in self.stops.items() if stop != body["pause"]}

    def _fold_budget_set(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.spending.set(body)
        self.account.set(body)
        if body["task"]:
            task = self.tasks[body["task"]]
            task.submissions = body["limits"].get("submissions", task.submissions)

    def _fold_redaction(self, _leaf: Leaf, body: Mapping[str, Any]) -> None:
        self.redacted.add(body["sha256"])

    def _remember(self, leaf: Leaf) -> None:
        """So that the same words said twice by a restarted researcher get their first answer."""
        entry = leaf.signed.entry
        self.said[entry.author, entry.kind, canonical_text(entry.body)] = leaf.index

    # Questions that several readers ask.

    def in_step(self, task: str, step: str) -> int:
        """How many submissions of a task were handed in under the plan step of that name."""
        return sum(one.body["task"] == task and one.body["step"] == step for one in self.submissions.values())

    @property
    def researchers(self) -> list[str]:
        return list(self.opened.get("researchers", []))

    @property
    def active_ms(self) -> int:
        """How long the study was worked on, until its last entry."""
        return self.account.active_ms

    def most_of(self, what: str) -> int:
        """What of the study's own budget may be used as it is set now: "seconds" or "submissions"."""
        return self.account.limits[STUDY][what] if self.opened else 0

    @property
    def submissions_left(self) -> int:
        """Official runs that the study's budget still allows."""
        return max(self.most_of("submissions") - self.charged, 0)

    @property
    def confirmations_left(self) -> int:
        """Confirmations that the study's budget still allows."""
        budget: int = self.opened["budget"]["confirmations"] if self.opened else 0
        return budget - self.confirmed

    @property
    def detectable_difference(self) -> float | None:
        """The difference in PGR to the plain student that a run finds 4 times in 5, at a 5 % level.

        An upper guess: from how far the plain student's own PGR scatters over the baselines' seeds, of which
        a paired comparison on the same splits cancels a part. `None` before the study is open, and for one
        seed, which says nothing of how far seeds scatter.
        """
        if not self.opened or self.opened["runs"]["seeds"] < 2:
            return None
        spread = float(self.opened["baselines"]["spread"])
        return round(_detectable(spread, self.opened["runs"]["seeds"]), 4)

    def seconds_left(self, now_ms: int) -> float:
        """Working time left in the study's budget, in seconds, as of now."""
        if not self.opened:
            return 0.0
        return float(self.most_of("seconds")) - self.account.active_until_ms(now_ms) / 1000

    def pending_submissions(self) -> list[int]:
        """Submissions that have no explore receipt and are not held, oldest first; none after the close."""
        if self.closed:
            # What was held then is not run any more, whoever lets it go.
            return []
        waiting = (index for index, one in self.submissions.items() if "explore" not in one.receipts)
        return [index for index in waiting if self.holds.holding(index) < 0]

    def pending_confirmations(self) -> list[int]:
        """Submissions whose confirmation was charged, that have no receipt of it yet and are not held, oldest
        charge first; none after the close.
        """
        if self.closed:
            return []
        waiting = [
            (one.confirmation, index)
            for index, one in self.submissions.items()
            if one.confirmation >= 0 and "confirm" not in one.receipts and self.holds.holding(index) < 0
        ]
        return [index for _charge, index in sorted(waiting)]

    def explored_by(self, researcher: str) -> list[dict[str, Any]]:
        """Receipt and digest of each scored explore run of a researcher's, in the order of the receipts."""
        return [
            {"receipt": index, "digest": body["digest"]}
            for index, body in self.receipts.items()
            if body["researcher"] == researcher and body["tier"] == "explore" and body["outcome"] == "scored"
        ]

    def pending_heldout(self, findings: Iterable[Finding] | None = None) -> list[tuple[int, str]]:
        """Submission and problem of each held-out run that a `result` calls for, each method once, none of
        one that is held.
        """
        run = {
            (self.submissions[one].body["digest"], label)
            for one in self.submissions
            for label in self.submissions[one].receipts
        }
        waiting = []
        for finding in self.findings.values() if findings is None else findings:
            for receipt in claimed_by(finding.body, self.receipts):
                submission: int = self.receipts[receipt]["submission"]
                if self.holds.holding(submission) >= 0:
                    continue
                digest = self.submissions[submission].body["digest"]
                for problem in self.opened["heldout"]:
                    wanted = (digest, run_label("heldout", problem["name"]))
                    if wanted not in run:
                        run.add(wanted)
                        waiting.append((submission, problem["name"]))
        return waiting

    def basis_of(self, finding: Finding) -> Basis:
        """What a decision on that finding rests on now."""
        return basis_of(
            finding.index,
            finding.body,
            findings={index: one.body for index, one in self.findings.items()},
            retracted={index for index, one in self.findings.items() if one.decision == "retract"},
            receipts=self.receipts,
            reproductions={
                index: one.receipts["reproduce"]
                for index, one in self.submissions.items()
                if "reproduce" in one.receipts
            },
            revealed=self.revealed,
            alarms={one["index"]: one for one in self.alarms},
            held=self.holds.on,
        )

    def descendants(self, finding: int) -> list[int]:
        """Findings that build on this one, directly or not."""
        found = {finding}
        for index, one in self.findings.items():
            if found.intersection(one.body["parents"]):
                found.add(index)
        return sorted(found - {finding})


def canonical_text(body: Mapping[str, Any]) -> str:
    """A body's canonical JSON as text, to compare bodies by."""
    return format_canonical(dict(body)).decode()
