"""Checking what entries claim: budgets, receipts, opened values, findings, decisions.

Every number that was released is derived again where its exact values are open: from masks over items to
counts, to PGR, to interval, to the rung of the ladder. Seeds, the sealed items and the test items of every
split follow from the secret that the study's close reveals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from aar.formats.commitments import commit_payload, commit_secret, commit_split, payload_nonce, split_nonce
from aar.formats.entry import Leaf
from aar.formats.errors import FormatError
from aar.formats.strict import encode_base64
from aar.verify.budget_check import BudgetCheck
from aar.verify.decisions import CITABLE, Basis, basis_of, claimed_by, faults, grounds_of, states
from aar.verify.holds import Holds, alarm_faults, hold_faults, release_faults
from aar.verify.interval import (
    Interval,
    decimal4,
    difference,
    difference_interval,
    in_whole_steps,
    interval_of,
    ladder,
    score,
)
from aar.verify.leaderboard import NO_NUMBERS, has_difference, has_interval
from aar.verify.log_check import MAX_BLOB_BYTES
from aar.verify.payload import Payload, parse_payload
from aar.verify.pgr import UndefinedPGR
from aar.verify.queue_check import QueueCheck
from aar.verify.report import Finding, Report
from aar.verify.resources import plain_bytes
from aar.verify.splits import Deal, Pool, run_label, seeds_for

# The kinds that this module, or the leaderboard, looks at. All there are: time passes with every entry.
CLAIMING = frozenset(
    (
        "study-opened",
        "study-closed",
        "task-opened",
        "task-leased",
        "task-closed",
        "plan-declared",
        "submission",
        "budget-charged",
        "budget-set",
        "score-receipt",
        "score-revealed",
        "finding",
        "comment",
        "task-proposed",
        "task-approved",
        "task-refused",
        "vote",
        "alarm",
        "decision",
        "queue-paused",
        "queue-resumed",
        "submission-held",
        "submission-released",
        "redaction",
    )
)


class Claims:
    """A fold over the entries that reports where one contradicts another."""

    def __init__(self, record: Path, blobs: set[str], report: Report) -> None:
        self._record = record
        self._blobs = blobs
        self._report = report
        self._queue = QueueCheck(self._add)
        self._budget = BudgetCheck(self._add)
        self._holds = Holds()
        self._opened: Any = {}
        self._closed: Any = {}
        self._secret: bytes | None = None
        self._digests: dict[int, str] = {}
        self._plans: dict[int, tuple[str, str]] = {}
        self._tasks: dict[str, Any] = {}
        self._used: dict[str, int] = {}
        self._submissions: dict[int, Any] = {}
        self._charged: dict[int, int] = {}
        self._confirmations: dict[int, int] = {}
        self._receipts: dict[int, Any] = {}
        # By submission and label: a held-out run's label names its problem.
        self._runs: dict[tuple[int, str], int] = {}
        self._answered: set[tuple[int, str]] = set()
        self._released: dict[str, Any] = {}
        self._findings: dict[int, Any] = {}
        # Of findings: who wrote them; of votes: by whom, and on what.
        self._wrote: dict[int, str] = {}
        self._voted: set[tuple[str, int]] = set()
        self._retracted: set[int] = set()
        # By finding: the entry that published it, unless a later decision took that back.
        self._published: dict[int, int] = {}
        self._alarms: dict[int, Any] = {}
        self._revealed: dict[tuple[int, str], Any] = {}
        self._withdrawn = 0
        self._redacted: set[str] = set()
        # Of opened public halves whose receipt released something: exact PGR, interval, and all as decimals.
        self._told: dict[int, tuple[Fraction, Interval | None, dict[str, str]]] = {}
        self._pools: dict[str, Pool] = {}
        self._deals: dict[str, Deal] = {}

    def run(self, leaves: Sequence[Leaf]) -> None:
        """Check all entries of the kinds `CLAIMING`, then what only the whole record can show."""
        for leaf in leaves:
            # Redactions first: a blob may be missing from its submission on, if any later entry says so.
            if leaf.signed.entry.kind == "redaction":
                self._redacted.add(str(leaf.signed.entry.body["sha256"]))
            if leaf.signed.entry.kind == "study-closed":
                self._reveal(leaf)
        for leaf in leaves:
            entry = leaf.signed.entry
            body: Any = entry.body
            if entry.kind == "study-opened" and not self._are_terms_sound(body):
                return
            self._digests[leaf.index] = leaf.signed.text_digest
            self._queue.check(leaf.index, entry, leaf.received_ms)
            self._budget.check(leaf.index, entry, leaf.received_ms)
            handler = getattr(self, "_check_" + entry.kind.replace("-", "_"), None)
            if handler is not None:
                handler(leaf.index, leaf, body)
            self._holds.take(leaf.index, entry)
        self._report.receipts = len(self._receipts)
        for index in self._submissions:
            if self._charged.get(index, 0) != 1:
                self._add("BUDGET", index, "one charge for this submission", f"{self._charged.get(index, 0)}")
            # A study is closed when all that was handed in was run: a score that displeased is not left out.
            is_owed = index not in self._holds.held_at_close
            if self._closed and is_owed and (index, "explore") not in self._answered:
                self._add("RECEIPT", index, "a receipt for this submission before the close", "none")
        for submission, index in self._confirmations.items():
            is_owed = submission not in self._holds.held_at_close
            if self._closed and is_owed and (submission, "confirm") not in self._answered:
                self._add("RECEIPT", index, "a receipt for this confirmation before the close", "none")
        if self._closed:
            self._check_heldout()
        self._check_releases()
        self._warn_of_what_is_not_shown()

    def _warn_of_what_is_not_shown(self) -> None:
        """What nothing here contradicts and nothing here bears out either."""
        warnings = self._report.warnings
        warnings += self._budget.overspent()
        if self._withdrawn:
            warnings.append(
                f"{self._withdrawn} opened values were redacted: none of them is on the leaderboard"
            )
        if self._revealed and self._secret is None:
            warnings.append(
                "the study is open: that seeds and test items were drawn, not picked, shows when it is closed"
            )
        for finding, decided in self._published.items():
            about = self._basis_of(finding).alarms
            late = [alarm for alarm in about if alarm > decided]
            if late:
                warnings.append(
                    f"finding {finding} was published in entry {decided}; alarms about what it rests on came "
                    f"later: {', '.join(map(str, late))}"
                )
            held = self._holds.on(self._grounds_of(finding))
            if held and min(held) > decided:
                warnings.append(
                    f"finding {finding} was published in entry {decided}; what it rests on was held "
                    f"for review later: {', '.join(map(str, held))}"
                )
        warnings += self._warnings_of_the_monitor()
        scored = [index for index, body in self._receipts.items() if body["commitments"]]
        closed = [index for index in scored if (index, "public") not in self._revealed]
        if self._closed and closed:
            warnings.append(
                f"the study is closed, and {len(closed)} of {len(scored)} scored receipts are not opened"
            )

    def _warnings_of_the_monitor(self) -> Iterator[str]:
        """A hold that nobody lifted before the close; a monitor that is a model, and told of no reading."""
        held = sorted(self._holds.held_at_close)
        if held:
            yield (
                f"{len(held)} submissions were held for review when the study closed, and not run after: "
                f"{', '.join(map(str, held[:20]))}"
            )
        monitor = self._opened.get("monitor")
        if self._closed and monitor and not self._budget.readings:
            yield f"the study's monitor, {monitor['model']}, read nothing: it raised no alarm for that reason"

    def _add(self, code: str, index: int, expected: str, got: str) -> None:
        self._report.add(
            Finding(code=code, resource=f"entry {index}", expected=expected, got=got, first_index=index)
        )

    def _reveal(self, leaf: Leaf) -> None:
        """Take the secret of the close if it is the committed one; `_check_study_closed` reports if not."""
        self._secret = bytes.fromhex(str(leaf.signed.entry.body["seed_secret"]))

    def _are_terms_sound(self, body: Any) -> bool:
        """Whether values can be derived at all: items are left to test, rules are those of their problem."""
        pools = {one["name"]: Pool(**one["pool"]) for one in body["heldout"]}
        if len(pools) < len(body["heldout"]) or body["problem"] in pools:
            self._add("BODY", 0, "problems held out once each, and not the study's own", str(list(pools)))
            return False
        pools[body["problem"]] = pool = Pool(**body["pool"])
        for name, one in pools.items():
            if not one.leaves_items:
                self._add("BODY", 0, f"a pool of {name} that leaves items to test", str(one))
                return False
        release = body["release"]
        wanted = ("exact", "t-over-seeds") if pool.is_fresh else ("ladder", "crossed-bootstrap")
        if (release["rule"], body["interval"]["method"]) != wanted:
            got = f"{release['rule']} and {body['interval']['method']}"
            self._add("BODY", 0, f"{wanted[0]} and {wanted[1]}, which its items call for", got)
        elif (Fraction(release["step"]) > 0) == pool.is_fresh:
            self._add("BODY", 0, "a step above 0 for a ladder, none for exact values", release["step"])
        else:
            self._pools = pools
            return True
        return False

    def _check_study_opened(self, _index: int, _leaf: Leaf, body: Any) -> None:
        self._opened = body

    def _check_study_closed(self, index: int, _leaf: Leaf, body: Any) -> None:
        self._closed = body
        commitments, secret = self._opened["commitments"], bytes.fromhex(body["seed_secret"])
        if commit_secret(secret) != commitments["seed_secret"]:
            self._add("RECEIPT", index, "the seed secret that study-opened committed to", "another one")
        pool = self._pools[self._opened["problem"]]
        mask = Deal(secret, pool).sealed_mask
        sealed = encode_base64(mask.to_bytes((pool.width + 7) // 8, "little"))
        if (body["sealed"], body["split_nonce"]) != (sealed, split_nonce(secret)):
            self._add("RECEIPT", index, "the sealed items that the secret gives", "others")
        if commit_split(body["split_nonce"], body["sealed"]) != commitments["split"]:
            self._add("RECEIPT", index, "the sealed items that study-opened committed to", "others")

    def _check_task_opened(self, index: int, _leaf: Leaf, body: Any) -> None:
        if body["task"] in self._tasks:
            self._add("BUDGET", index, "a task opened once", f"{body['task']} again")
        self._tasks[body["task"]] = body

    def _check_plan_declared(self, index: int, leaf: Leaf, body: Any) -> None:
        self._plans[index] = (leaf.signed.entry.author, body["task"])

    def _check_submission(self, index: int, _leaf: Leaf, body: Any) -> None:
        self._submissions[index] = body
        self._require_blob(index, body["digest"])
        task = self._tasks.get(body["task"])
        if task is None:
            self._add("BUDGET", index, "a submission to an open task", f"task {body['task']}")
            return
        self._used[body["task"]] = self._used.get(body["task"], 0) + 1
        most = self._budget.most_submissions(body["task"])
        if self._used[body["task"]] > most:
            self._add("BUDGET", index, f"at most {most} submissions to {body['task']}", "one more")
        most = self._budget.most_submissions()
        if len(self._submissions) > most:
            self._add("BUDGET", index, f"at most {most} submissions", "one more")
        if self._plans.get(body["plan"]) != (body["researcher"], body["task"]):
            self._add(
                "BODY", index, f"a plan of {body['researcher']} for {body['task']}", f"entry {body['plan']}"
            )

    def _require_blob(self, index: int, digest: str) -> None:
        if digest not in self._blobs and digest not in self._redacted:
            self._report.add(
                Finding(
                    code="MISSING",
                    resource=f"blobs/{digest}",
                    expected="the bytes that the entry names, or a redaction",
                    got="no file",
                    first_index=index,
                )
            )

    def _check_budget_charged(self, index: int, _leaf: Leaf, body: Any) -> None:
        if body["what"] in ("tokens", "sandbox"):
            return
        submission = self._submissions.get(body["submission"])
        if submission is None or (submission["researcher"], submission["task"]) != (
            body["researcher"],
            body["task"],
        ):
            self._add(
                "BUDGET",
                index,
                "a charge for a submission of that researcher and task",
                f"entry {body['submission']}",
            )
            return
        if body["what"] == "submissions":
            self._charged[body["submission"]] = self._charged.get(body["submission"], 0) + body["amount"]
            return
        held = self._holds.holding(body["submission"])
        if held >= 0:
            self._add("ORDER", index, f"no confirmation of a method that is held since entry {held}", "one")
        if body["submission"] in self._confirmations or body["amount"] != 1:
            self._add("BUDGET", index, "one confirmation of a submission, charged as 1", f"{body['amount']}")
        self._confirmations[body["submission"]] = index
        if len(self._confirmations) > self._opened["budget"]["confirmations"]:
            most = self._opened["budget"]["confirmations"]
            self._add("BUDGET", index, f"at most {most} confirmations", "one more")

    def _check_score_receipt(self, index: int, _leaf: Leaf, body: Any) -> None:
        label = run_label(body["tier"], body["problem"])
        self._answered.add((body["submission"], label))
        submission = self._submissions.get(body["submission"])
        if submission is None or (submission["digest"], submission["researcher"]) != (
            body["digest"],
            body["researcher"],
        ):
            self._add(
                "RECEIPT",
                index,
                "a receipt for that submission's method and researcher",
                f"entry {body['submission']}",
            )
            return
        if (body["submission"], label) in self._runs:
            self._add(
                "RECEIPT",
                index,
                f"one {label} receipt for submission {body['submission']}",
                "a second one",
            )
        self._runs[body["submission"], label] = index
        if not self._holds.may_end(body["submission"], label):
            held = self._holds.holding(body["submission"])
            wanted = f"no {label} run of a method that is held since entry {held}, but of those begun before"
            self._add("ORDER", index, wanted, "one")
        is_elsewhere = body["problem"] != self._opened["problem"]
        if is_elsewhere != (body["tier"] == "heldout") or body["problem"] not in self._pools:
            self._add("RECEIPT", index, f"a problem of the study's for tier {body['tier']}", body["problem"])
            return
        self._receipts[index] = body
        if self._closed and body["tier"] in ("explore", "confirm"):
            self._add(
                "ORDER", index, f"no {body['tier']} run after the close", f"submission {body['submission']}"
            )
        if body["tier"] == "confirm" and body["submission"] not in self._confirmations:
            self._add("BUDGET", index, "a confirmation that was charged for before", "none")
        if len(body["seeds"]) != self._opened["runs"]["seeds"]:
            self._add("RECEIPT", index, f"{self._opened['runs']['seeds']} seeds", f"{len(body['seeds'])}")
        elif self._secret is not None:
            seeds = seeds_for(self._secret, label, body["digest"], len(body["seeds"]))
            if list(seeds) != body["seeds"]:
                self._add("RECEIPT", index, "the seeds that the committed secret gives", "others")
        if body["released"]:
            self._check_released(index, body)

    def _check_released(self, index: int, body: Any) -> None:
        if body["tier"] == "confirm":
            return
        released, researcher = body["released"], body["researcher"]
        previous = self._released.get(researcher)
        pgr, low, high = (Fraction(released[key]) for key in ("pgr", "low", "high"))
        if not low <= pgr <= high:
            self._add(
                "RECEIPT",
                index,
                "low <= pgr <= high",
                f"{released['low']}, {released['pgr']}, {released['high']}",
            )
        if self._opened["release"]["rule"] == "exact":
            if not released["improved"]:
                self._add("RECEIPT", index, "a value of its own, which is always told", "improved 0")
        elif released["improved"]:
            if previous is not None and pgr <= Fraction(previous["pgr"]):
                self._add("RECEIPT", index, f"a rung above {previous['pgr']}", released["pgr"])
            self._released[researcher] = released
        elif previous is None or any(released[key] != previous[key] for key in ("pgr", "low", "high")):
            self._add("RECEIPT", index, "the previous answer again, for nothing was better", released["pgr"])

    def _check_finding(self, index: int, leaf: Leaf, body: Any) -> None:
        if body["type"] == "result" and not body["receipts"]:
            self._add("RECEIPT", index, "a result that cites a receipt", "none")
        is_stated = False
        for receipt in body["receipts"]:
            cited = self._receipts.get(receipt)
            author = leaf.signed.entry.author
            if cited is None or cited["researcher"] != author or cited["tier"] not in CITABLE:
                self._add(
                    "RECEIPT", index, f"{' or '.join(CITABLE)} receipts of {author}", f"entry {receipt}"
                )
            else:
                is_stated = is_stated or states(body, cited)
        if (body["numbers"] or body["type"] == "result") and not is_stated:
            self._add("RECEIPT", index, "numbers that a cited receipt released", str(body["numbers"]))
        if any(parent not in self._findings for parent in body["parents"]):
            self._add("REFS", index, "parents that are findings", str(body["parents"]))
        # Only now: it is no parent of its own.
        self._findings[index] = body
        self._wrote[index] = leaf.signed.entry.author

    def _check_vote(self, index: int, leaf: Leaf, body: Any) -> None:
        author, on = leaf.signed.entry.author, body["on"]
        if on not in self._wrote:
            self._add("REFS", index, "a vote on a finding", f"entry {on}")
        elif self._wrote[on] == author:
            self._add("BODY", index, "no vote for a finding of one's own", f"{author} on entry {on}")
        elif (author, on) in self._voted:
            self._add("BODY", index, f"one vote of {author} on entry {on}", "another")
        self._voted.add((author, on))

    def _check_alarm(self, index: int, _leaf: Leaf, body: Any) -> None:
        for expected, got in alarm_faults(self._holds, body):
            self._add("REFS", index, expected, got)
        self._alarms[index] = body

    def _check_submission_held(self, index: int, _leaf: Leaf, body: Any) -> None:
        for expected, got in hold_faults(self._holds, body):
            self._add("ORDER", index, expected, got)

    def _check_submission_released(self, index: int, _leaf: Leaf, body: Any) -> None:
        for expected, got in release_faults(self._holds, body):
            self._add("ORDER", index, expected, got)

    def _check_decision(self, index: int, _leaf: Leaf, body: Any) -> None:
        finding = self._findings.get(body["finding"])
        if finding is None or self._digests[body["finding"]] != body["finding_digest"]:
            self._add("DECISION", index, f"the bytes of finding {body['finding']}", body["finding_digest"])
            return
        for expected, got in faults(body, self._basis_of(body["finding"])):
            self._add("DECISION", index, expected, got)
        self._published.pop(body["finding"], None)
        if body["decision"] == "publish":
            self._published[body["finding"]] = index
        if body["decision"] == "retract":
            self._retracted.add(body["finding"])
        else:
            self._retracted.discard(body["finding"])

    def _basis_of(self, finding: int) -> Basis:
        return basis_of(
            finding,
            self._findings[finding],
            findings=self._findings,
            retracted=self._retracted,
            receipts=self._receipts,
            reproductions={one: at for (one, label), at in self._runs.items() if label == "reproduce"},
            revealed=self._revealed,
            alarms=self._alarms,
            held=self._holds.on,
        )

    def _grounds_of(self, finding: int) -> set[int]:
        return grounds_of(finding, self._findings[finding], findings=self._findings, receipts=self._receipts)

    def _check_score_revealed(self, index: int, _leaf: Leaf, body: Any) -> None:
        receipt = self._receipts.get(body["receipt"])
        if receipt is None or not receipt["commitments"]:
            self._add("RECEIPT", index, "a scored receipt to open", f"entry {body['receipt']}")
            return
        half, digest = body["half"], body["blob"]["sha256"]
        opened = commit_payload(half=half, nonce=body["nonce"], payload_sha256=digest)
        if opened != receipt["commitments"][half]:
            self._add("RECEIPT", index, f"the commitment of receipt {body['receipt']}", "other values")
            return
        if self._secret is not None:
            label = run_label(receipt["tier"], receipt["problem"])
            nonce = payload_nonce(self._secret, half=half, label=label, digest=receipt["digest"])
            if nonce != body["nonce"]:
                self._add("RECEIPT", index, "the nonce that the committed secret gives", "another one")
        if (body["receipt"], half) in self._revealed:
            self._add("RECEIPT", index, f"the {half} half of receipt {body['receipt']} once", "again")
        self._revealed[body["receipt"], half] = body
        if digest in self._redacted:
            self._withdrawn += 1
            return
        self._require_blob(index, digest)
        if digest in self._blobs:
            # Read a second time, and so hashed again: between the two it may have become another file.
            data = plain_bytes(self._record, f"blobs/{digest}", MAX_BLOB_BYTES)
            if isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == digest:
                self._check_values(index, body, receipt, data)
            else:
                self._add("RECEIPT", index, f"the blob {digest}, as it was a moment before", "another file")

    def _check_values(self, index: int, body: Any, receipt: Any, data: bytes) -> None:
        """Derive PGR and interval again from the masks, and the masks' items from the seeds."""
        if len(data) != body["blob"]["size"]:
            self._add("RECEIPT", index, f"{body['blob']['size']} bytes", f"{len(data)}")
        try:
            payload = parse_payload(data)
            derived, interval = self._derived(payload, receipt, body["half"])
        except (FormatError, UndefinedPGR) as error:
            self._add("RECEIPT", index, "exact values of a half", str(error))
            return
        said = {key: body[key] for key in derived}
        if said != derived:
            self._add("RECEIPT", index, str(derived), str(said))
        if payload.half != body["half"]:
            self._add("RECEIPT", index, f"the {body['half']} half", f"the {payload.half} half")
        pool = self._pools[receipt["problem"]]
        if (payload.pool, payload.is_fresh) != (pool.width, pool.is_fresh):
            wanted = f"masks over {pool.width} {'fresh ' * pool.is_fresh}items"
            self._add("RECEIPT", index, wanted, f"{payload.pool} {'fresh ' * payload.is_fresh}items")
            return
        replicates = range(self._opened["runs"]["replicates"])
        runs = [(seed, replicate) for seed in receipt["seeds"] for replicate in replicates]
        if [(one.seed, one.replicate) for one in payload.splits] != runs:
            self._add("RECEIPT", index, "all seeds and replicates of the receipt, in their order", "others")
        elif self._secret is not None:
            self._check_items(index, payload, receipt["problem"], self._secret)
        if payload.half == "public" and receipt["released"]:
            self._told[body["receipt"]] = (score(payload).pgr, interval, derived)
        self._report.opened += 1

    def _derived(self, payload: Payload, receipt: Any, half: str) -> tuple[dict[str, str], Interval | None]:
        """What an opened half states, from its masks: PGR, interval, and the difference where one is told."""
        draws, interval = self._opened["interval"]["draws"], None
        group = self._pools[receipt["problem"]].group
        told = {**NO_NUMBERS, "pgr": decimal4(score(payload).pgr)}
        if has_interval(receipt, half):
            interval = interval_of(payload, draws=draws, group=group)
            told |= _decimals(interval, "")
        if has_difference(receipt):
            told["difference"] = decimal4(difference(payload))
            told |= _decimals(difference_interval(payload, draws=draws, group=group), "difference_")
        return told, interval

    def _check_items(self, index: int, payload: Payload, problem: str, secret: bytes) -> None:
        if problem not in self._deals:
            self._deals[problem] = Deal(secret, self._pools[problem])
        deal = self._deals[problem]
        for one in payload.splits:
            if one.tested != deal.tested_mask(payload.half, one.seed, one.replicate):
                self._add(
                    "RECEIPT", index, "the test items that the seeds give", f"others at seed {one.seed}"
                )
                return

    def _check_heldout(self) -> None:
        """After the close: each method that a result claims was run on each problem held out, if any."""
        names = [one["name"] for one in self._opened["heldout"]]
        run = {(one["digest"], one["problem"]) for one in self._receipts.values() if one["tier"] == "heldout"}
        for index, finding in self._findings.items():
            for receipt in claimed_by(finding, self._receipts):
                if self._receipts[receipt]["submission"] in self._holds.held_at_close:
                    continue
                digest = self._receipts[receipt]["digest"]
                for name in names:
                    if (digest, name) not in run:
                        self._add("RECEIPT", index, f"a run of the claimed method on {name}", "none")

    def _check_releases(self) -> None:
        """Each opened value against what was released of it: ladder or exact, and confirmed values."""
        rungs: dict[str, Fraction] = {}
        for index, body in self._receipts.items():
            released = body["released"]
            if not released:
                continue
            if body["tier"] == "explore" and self._opened["release"]["rule"] == "ladder":
                previous = rungs.get(body["researcher"])
                if released["improved"]:
                    rungs[body["researcher"]] = Fraction(released["pgr"])
                if index in self._told:
                    self._check_rung(index, released, previous)
            elif index in self._told:
                exact = {key: self._told[index][2].get(key, 1) for key in released}
                if released != exact:
                    self._add("RECEIPT", index, str(exact), str(released))

    def _check_rung(self, index: int, released: Any, previous: Fraction | None) -> None:
        """An opened value against the ladder of its researcher: what was released follows from both."""
        step = Fraction(self._opened["release"]["step"])
        pgr, interval, _derived = self._told[index]
        rung = ladder(previous, pgr, step)
        if (rung is not None) != bool(released["improved"]):
            told = "a new rung" if rung is not None else "no new rung"
            self._add("RECEIPT", index, f"{told} for {decimal4(pgr)}", released["pgr"])
        elif rung is not None and interval is not None:
            low, high = in_whole_steps(interval, rung, step)
            derived = {"pgr": decimal4(rung), "low": decimal4(low), "high": decimal4(high), "improved": 1}
            if released != derived:
                self._add("RECEIPT", index, str(derived), str(released))


def _decimals(interval: Interval, prefix: str) -> dict[str, str]:
    return {f"{prefix}low": decimal4(interval.low), f"{prefix}high": decimal4(interval.high)}
