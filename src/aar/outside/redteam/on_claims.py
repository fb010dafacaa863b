"""Attacks on claims: well-formed, well-signed entries that contradict other entries or the exact values."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

from aar.outside.redteam.attack import attack
from aar.outside.redteam.forgery import Forgery, pick, with_body
from aar.outside.redteam.specimen import NoPlace
from aar.verify.interval import decimal4

EVALUATOR, GATEWAY = "log witness evaluator", "log witness gateway"
RESEARCHER, REVIEWER = "log witness researcher", "log witness reviewer"
RECEIPT, OPENING, FINDING = "that receipt", "that opened value", "that finding"


def _one(copy: Forgery, dice: Random, what: str, *kinds: str, **wanted: Any) -> tuple[int, Any]:
    """An entry of those kinds whose body has these fields, and whose keys are at hand."""
    places = [
        (index, entry.body)
        for index, entry in copy.entries(*kinds)
        if all(entry.body[key] == value for key, value in wanted.items()) and copy.can_rewrite(index)
    ]
    index, body = pick(dice, places, what)
    return int(index), body


def _changed(copy: Forgery, index: int, **fields: Any) -> int:
    copy.rewrite(index, with_body(**fields))
    copy.publish()
    return index


def _opened(copy: Forgery, dice: Random) -> tuple[int, Any]:
    """An opened value whose blob lies there."""
    redacted = {entry.body["sha256"] for _index, entry in copy.entries("redaction")}
    places: list[tuple[int, Any]] = []
    for index, entry in copy.entries("score-revealed"):
        body: Any = entry.body
        if body["blob"]["sha256"] not in redacted and copy.can_rewrite(index):
            places.append((index, body))
    index, body = pick(dice, places, "an opened value")
    return int(index), body


def _raised(decimal: str, dice: Random) -> str:
    return decimal4(Fraction(decimal) + Fraction(dice.randrange(1, 3000), 10_000))


@attack(
    "raise-opened-score",
    "RECEIPT",
    "open a higher value than the exact ones give",
    keys=EVALUATOR,
    index=OPENING,
)
def raise_opened_score(copy: Forgery, dice: Random) -> int:
    index, body = _opened(copy, dice)
    return _changed(copy, index, pgr=_raised(body["pgr"], dice))


@attack(
    "swap-payload",
    "RECEIPT",
    "open a commitment with another run's exact values",
    keys=EVALUATOR,
    index=OPENING,
)
def swap_payload(copy: Forgery, dice: Random) -> int:
    index, body = _opened(copy, dice)
    blobs: list[Any] = [entry.body["blob"] for _at, entry in copy.entries("score-revealed")]
    other = pick(dice, [one for one in blobs if one["sha256"] != body["blob"]["sha256"]], "a second value")
    return _changed(copy, index, blob=other)


@attack("another-nonce", "RECEIPT", "open a commitment with another nonce", keys=EVALUATOR, index=OPENING)
def another_nonce(copy: Forgery, dice: Random) -> int:
    index, _body = _opened(copy, dice)
    return _changed(copy, index, nonce=dice.randbytes(32).hex())


@attack("open-twice", "RECEIPT", "open one half a second time", keys=EVALUATOR, index="the second one")
def open_twice(copy: Forgery, dice: Random) -> int:
    _index, body = _opened(copy, dice)
    index = copy.append(copy.signer("evaluator", dice), "score-revealed", body)
    copy.publish()
    return index


@attack(
    "pick-seeds",
    "RECEIPT",
    "report other seeds than the committed secret gives",
    keys=EVALUATOR,
    index=RECEIPT,
)
def pick_seeds(copy: Forgery, dice: Random) -> int:
    if not copy.entries("study-closed"):
        raise NoPlace("the secret is not revealed before the study is closed")
    index, body = _one(copy, dice, "a receipt", "score-receipt")
    seeds = list(body["seeds"])
    seeds[dice.randrange(len(seeds))] = dice.randrange(1 << 48)
    return _changed(copy, index, seeds=seeds)


@attack("drop-seed", "RECEIPT", "report fewer seeds than were agreed", keys=EVALUATOR, index=RECEIPT)
def drop_seed(copy: Forgery, dice: Random) -> int:
    index, body = _one(copy, dice, "a receipt", "score-receipt")
    if len(body["seeds"]) < 2:
        raise NoPlace("this study has one seed")
    seeds = list(body["seeds"])
    del seeds[dice.randrange(len(seeds))]
    return _changed(copy, index, seeds=seeds)


@attack(
    "rung-outside-interval",
    "RECEIPT",
    "release a value above its own interval",
    keys=EVALUATOR,
    index=RECEIPT,
)
def rung_outside_interval(copy: Forgery, dice: Random) -> int:
    index, body = _one(copy, dice, "a scored receipt", "score-receipt", outcome="scored", tier="explore")
    released = {**body["released"], "pgr": _raised(body["released"]["high"], dice)}
    return _changed(copy, index, released=released)


@attack("receipt-for-another", "RECEIPT", "credit a run to another researcher", keys=EVALUATOR, index=RECEIPT)
def receipt_for_another(copy: Forgery, dice: Random) -> int:
    index, body = _one(copy, dice, "a receipt", "score-receipt")
    others = sorted(
        name
        for name, role in copy.specimen.roles.items()
        if role == "researcher" and name != body["researcher"]
    )
    return _changed(copy, index, researcher=pick(dice, others, "a second researcher"))


@attack(
    "receipt-for-another-method",
    "RECEIPT",
    "name another method's digest in a receipt",
    keys=EVALUATOR,
    index=RECEIPT,
)
def receipt_for_another_method(copy: Forgery, dice: Random) -> int:
    index, _body = _one(copy, dice, "a receipt", "score-receipt")
    return _changed(copy, index, digest=dice.randbytes(32).hex())


@attack(
    "score-twice", "RECEIPT", "give one submission a second receipt", keys=EVALUATOR, index="the second one"
)
def score_twice(copy: Forgery, dice: Random) -> int:
    _index, body = _one(copy, dice, "a receipt", "score-receipt")
    index = copy.append(copy.signer("evaluator", dice), "score-receipt", body)
    copy.publish()
    return index


@attack(
    "raise-claimed-score",
    "RECEIPT",
    "claim a higher score than the receipt released",
    keys=RESEARCHER,
    index=FINDING,
)
def raise_claimed_score(copy: Forgery, dice: Random) -> int:
    index, body = _one(copy, dice, "a result", "finding", type="result")
    if not body["numbers"]:
        raise NoPlace("that result states no number")
    return _changed(copy, index, numbers={**body["numbers"], "pgr": _raised(body["numbers"]["pgr"], dice)})


@attack("uncited-result", "RECEIPT", "claim a result that cites no receipt", keys=RESEARCHER, index=FINDING)
def uncited_result(copy: Forgery, dice: Random) -> int:
    index, _body = _one(copy, dice, "a result", "finding", type="result")
    return _changed(copy, index, receipts=[])


@attack(
    "cite-anothers-receipt", "RECEIPT", "cite a receipt of another researcher", keys=RESEARCHER, index=FINDING
)
def cite_anothers_receipt(copy: Forgery, dice: Random) -> int:
    places = [
        (index, at)
        for index, finding in copy.entries("finding")
        for at, receipt in copy.entries("score-receipt")
        if finding.body["type"] == "result"
        and at < index
        and receipt.body["researcher"] != finding.author
        and copy.can_rewrite(index)
    ]
    index, receipt = pick(dice, places, "a result after another researcher's receipt")
    return _changed(copy, index, receipts=[receipt])


@attack("false-parent", "REFS", "name a parent that is no finding", keys=RESEARCHER, index=FINDING)
def false_parent(copy: Forgery, dice: Random) -> int:
    index, _body = _one(copy, dice, "a finding", "finding")
    findings = {at for at, _entry in copy.entries("finding")}
    parent = dice.choice([at for at in range(len(copy)) if at not in findings or at >= index])
    return _changed(copy, index, parents=[parent])


@attack("charge-twice", "BUDGET", "charge a submission twice", keys=GATEWAY, index="the submission")
def charge_twice(copy: Forgery, dice: Random) -> int:
    charges = [at for at, entry in copy.entries("budget-charged") if entry.body["what"] == "submissions"]
    index = int(pick(dice, [at for at in charges if copy.can_rewrite(at)], "a charge for a submission"))
    submission: Any = copy.entry(index).body["submission"]
    _changed(copy, index, amount=dice.randrange(2, 9))
    return int(submission)


@attack("charge-nothing", "BUDGET", "charge for what is not a submission", keys=GATEWAY, index="the charge")
def charge_nothing(copy: Forgery, dice: Random) -> int:
    # Tokens of a model, and sandboxes, are charged for no submission at all.
    charges = [at for at, entry in copy.entries("budget-charged") if entry.body["submission"] != -1]
    index = int(pick(dice, [at for at in charges if copy.can_rewrite(at)], "a charge of a run"))
    submissions = {at for at, _entry in copy.entries("submission")}
    return _changed(
        copy, index, submission=dice.choice([at for at in range(len(copy)) if at not in submissions])
    )


@attack(
    "shrink-task",
    "BUDGET",
    "open a task for fewer submissions than it got",
    keys=REVIEWER,
    index="the first submission beyond",
)
def shrink_task(copy: Forgery, dice: Random) -> int:
    submitted: dict[str, list[int]] = {}
    for at, entry in copy.entries("submission"):
        submitted.setdefault(str(entry.body["task"]), []).append(at)
    places = [
        (at, entry)
        for at, entry in copy.entries("task-opened")
        if len(submitted.get(str(entry.body["task"]), [])) > 1 and copy.can_rewrite(at)
    ]
    index, entry = pick(dice, places, "a task with two submissions, and the reviewer's key")
    beyond = submitted[entry.body["task"]]
    allowed = dice.randrange(1, len(beyond))
    _changed(copy, index, submissions=allowed)
    return beyond[allowed]


@attack(
    "speak-after-close",
    "ORDER",
    "let a researcher speak after the close",
    keys=RESEARCHER,
    index="that entry",
)
def speak_after_close(copy: Forgery, dice: Random) -> int:
    if not copy.entries("study-closed"):
        raise NoPlace("the study is not closed")
    index = copy.append(copy.signer("researcher", dice), "vote", {"on": 0, "value": dice.choice([-1, 1])})
    copy.publish()
    return index


@attack(
    "reveal-another-secret",
    "RECEIPT",
    "reveal another secret than was committed to",
    keys="log witness operator reviewer",
    index="the first receipt, whose seeds no longer follow",
)
def reveal_another_secret(copy: Forgery, dice: Random) -> int:
    index, _body = _one(copy, dice, "a close", "study-closed")
    receipts = [at for at, _entry in copy.entries("score-receipt") if at < index]
    _changed(copy, index, seed_secret=dice.randbytes(32).hex())
    return int(min(receipts, default=index))


@attack(
    "reveal-other-items",
    "RECEIPT",
    "reveal other sealed items than the secret gives",
    keys="log witness operator reviewer",
    index="the close",
)
def reveal_other_items(copy: Forgery, dice: Random) -> int:
    index, body = _one(copy, dice, "a close", "study-closed")
    if dice.randrange(2):
        return _changed(copy, index, split_nonce=dice.randbytes(32).hex())
    first = "A" if body["sealed"][:1] != "A" else "B"
    return _changed(copy, index, sealed=first + body["sealed"][1:])


def _decided(copy: Forgery, dice: Random, finding: int, **fields: Any) -> int:
    """The reviewer's word on a finding, appended: refine it, for a reason, unless told otherwise."""
    body = {
        "decision": "refine",
        "finding": finding,
        "finding_digest": copy.specimen.entries[finding].signed.text_digest,
        "checklist": [],
        "claimed": "",
        "reproduced": "",
        "sealed": "",
        "override": "",
        "note": "",
    }
    return copy.append(copy.signer("reviewer", dice), "decision", {**body, **fields})


def _finding(copy: Forgery, dice: Random) -> int:
    return int(pick(dice, [at for at, _entry in copy.entries("finding")], "a finding"))


@attack(
    "decide-other-bytes",
    "DECISION",
    "decide on other bytes than the finding's",
    keys=REVIEWER,
    index="the decision",
)
def decide_other_bytes(copy: Forgery, dice: Random) -> int:
    index = _decided(copy, dice, _finding(copy, dice), finding_digest=dice.randbytes(32).hex())
    copy.publish()
    return index


@attack(
    "edit-what-was-decided",
    "DECISION",
    "edit a finding after a reviewer decided on it",
    keys=RESEARCHER,
    needs="reviewer",
    index="the decision",
)
def edit_what_was_decided(copy: Forgery, dice: Random) -> int:
    findings = [at for at, _entry in copy.entries("finding") if copy.can_rewrite(at)]
    finding = int(pick(dice, findings, "a finding whose author's key is at hand"))
    author = copy.entry(finding).author
    # Signing it again changes what that author said later, too: the first decision on any of it is named.
    rewritten = {at for at in findings if at >= finding and copy.entry(at).author == author}
    decided = [at for at, entry in copy.entries("decision") if entry.body["finding"] in rewritten]
    index = _decided(copy, dice, finding)
    copy.rewrite(finding, with_body(title=f"another title {dice.randrange(10**6)}"))
    copy.publish()
    return min([*decided, index])


@attack(
    "publish-unborne",
    "DECISION",
    "publish without a checklist and without a reason",
    keys=REVIEWER,
    index="the decision",
)
def publish_unborne(copy: Forgery, dice: Random) -> int:
    checklist = [] if dice.randrange(2) else [{"item": "verified", "outcome": "fail", "detail": ""}]
    index = _decided(copy, dice, _finding(copy, dice), decision="publish", checklist=checklist)
    copy.publish()
    return index


@attack(
    "decide-other-values",
    "DECISION",
    "decide over a value that the finding does not claim",
    keys=REVIEWER,
    index="the decision",
)
def decide_other_values(copy: Forgery, dice: Random) -> int:
    finding = _finding(copy, dice)
    numbers: Any = copy.entry(finding).body["numbers"]
    index = _decided(copy, dice, finding, claimed=_raised(numbers["pgr"] if numbers else "0.00", dice))
    copy.publish()
    return index
