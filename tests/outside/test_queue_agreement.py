"""What the gateway admits to the queue, the verifier finds nothing wrong with; what it refuses, it finds."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from aar.formats.entry import Entry, Leaf, sign_entry
from aar.outside.admission import Refused, check_admission
from aar.verify.budget_check import BudgetCheck
from aar.verify.limits import sandbox_limit
from aar.verify.queue_check import QueueCheck
from aar.verify.spending import Spent
from forge import planned
from outside.test_admission import ORIGIN, SIGNERS, opening, receipt_body
from outside.test_admission import Study as Refusing
from spending import CALL_DOLLARS, charge, models, usage

NAMES = ("researcher-1", "researcher-2")
TASKS = ("t1", "t2", "t3", "t4")
STEPS = ("s1", "s2", "S1")
FAMILIES = ("channel", "prior", "baseline", "ensembles")
# Refusals that are the queue's own; budgets, requests and whose plan it is are checked elsewhere.
OF_THE_QUEUE = {
    "epoch",
    "leased",
    "no-researcher",
    "no-task",
    "not-leased",
    "not-paused",
    "old-plan",
    "paused",
    "risk",
    "scope",
    "step-order",
    "stopped",
    # Of what may be limited of a researcher or a task: no other budget is ever spent here.
    "budget",
    "no-limit",
}
# How often each is attempted.
ATTEMPTS = {"lease": 2, "gone": 1, "plan": 2, "submit": 4, "receipt": 1, "pause": 1, "resume": 2, "close": 1}
ATTEMPTS |= {"stop": 1, "spend": 3, "use": 3, "limit": 1}
ROUNDS = 400


class Watched(Refusing):
    """A study whose every entry, admitted or refused, the verifier's fold looks at, too."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[tuple[str, int, str, str]] = []
        self.queue = QueueCheck(lambda *fault: self.faults.append(fault))
        self.budget = BudgetCheck(lambda *fault: self.faults.append(fault))
        self.disagreements: list[str] = []
        self.admitted: dict[str, int] = {}
        self.refused: dict[str, int] = {}

    def say(
        self, author: str, kind: str, body: dict[str, Any], refs: tuple[int, ...] = (), **changes: Any
    ) -> int:
        chain, index = self.projection.chain(author), self.projection.tree_size
        cosigners = ["reviewer-a"] if kind == "study-opened" else []
        entry = Entry(ORIGIN, author, chain.seq, chain.prev, kind, refs, body, self.now_ms)
        signed = sign_entry(entry, SIGNERS[author], *(SIGNERS[one] for one in cosigners))
        try:
            check_admission(self.projection, signed)
        except Refused as refused:
            self.refused[refused.code] = self.refused.get(refused.code, 0) + 1
            # A submission to a task that nobody opened is a matter of the budget.
            is_elsewhere = kind == "submission" and body["task"] not in self.projection.tasks
            if refused.code in OF_THE_QUEUE and not is_elsewhere and not self._would_be_found(index, entry):
                self.disagreements.append(f"refused and not found: {refused.code} {kind} {body}")
            return -1
        self.admitted[kind] = self.admitted.get(kind, 0) + 1
        self.projection.fold(Leaf(index, self.now_ms, signed))
        self.queue.check(index, entry, self.now_ms)
        self.budget.check(index, entry, self.now_ms)
        self.now_ms += 1_000
        if self.faults:
            self.disagreements.append(f"admitted and called wrong: {self.faults} {kind} {body}")
            self.faults.clear()
        return index

    def _would_be_found(self, index: int, entry: Entry) -> bool:
        faults: list[object] = []
        queue = QueueCheck(lambda *fault: faults.append(fault))
        for name in ("_policy", "_researchers", "_tasks", "_scored", "_paused", "_stopped", "_roles"):
            setattr(queue, name, copy.deepcopy(getattr(self.queue, name)))
        queue.check(index, entry, self.now_ms)
        budget = BudgetCheck(lambda *fault: faults.append(fault))
        for name in ("_spending", "_account", "_tasks"):
            setattr(budget, name, copy.deepcopy(getattr(self.budget, name)))
        budget.check(index, entry, self.now_ms)
        return bool(faults)


def scope() -> dict[str, Any]:
    return {"families": ["channel", "prior"], "programs": 1, "submissions": 3}


def opened(policy: str, dice: random.Random) -> Watched:
    study = Watched()
    terms = {"policy": policy, "directions": []}
    budget = {"submissions": 90_000, "confirmations": 1, "seconds": 10**7}
    told = {"allocation": terms, "budget": budget, "models": models(NAMES[0], tokens=8_000)}
    study.say("operator", "study-opened", opening(**told, researchers=list(NAMES)))
    for name in TASKS:
        workflow = dice.choice(("fixed", "hybrid", "hybrid", "free"))
        changes: dict[str, Any] = {
            "workflow": workflow,
            "risk": dice.choice(("low", "low", "medium", "high")),
        }
        if workflow == "hybrid":
            changes["scope"] = scope()
        steps = STEPS[:2] if workflow == "fixed" else ()
        study.task(name, steps=steps, submissions=1_000, **changes)
    return study


def play(study: Watched, dice: random.Random) -> None:
    """One attempt at something, which may be admitted or not."""
    task, who = dice.choice(TASKS), dice.choice(NAMES)
    told = study.projection.tasks.get(task)
    plans = told.plan_entries if told is not None else []
    (what,) = dice.choices([*ATTEMPTS], [*ATTEMPTS.values()])
    if what in ("lease", "gone"):
        if what == "gone" and told is not None and told.researcher:
            who = told.researcher
        until = study.now_ms + (dice.choice((0, -5, 3_000, 10**9)) if what == "lease" else 0)
        if dice.random() < 0.03:
            who = "researcher-3"
        study.lease(who, task, (told.epoch if told else 0) + dice.choice((1, 1, 1, 2)), max(until, 0))
    elif what == "plan":
        steps = [
            planned(
                name,
                *dice.sample(FAMILIES, dice.choice((0, 1, 1, 2))),
                submissions=dice.choice((0, 1, 2, 3, 4)),
            )
            for name in dice.choices(STEPS, k=dice.choice((1, 2)))
        ]
        amends = dice.choice([-1, *plans])
        study.plan(who, task, amends, steps)
    elif what == "submit":
        mine = [one for one in plans if study.projection.authors[one] == who]
        plan = dice.choice(mine[-2:] or [0])
        families = dice.sample(FAMILIES, dice.choice((0, 1, 1, 2)))
        request = f"{study.projection.tree_size}/{dice.random()}"
        body = {
            "task": task,
            "researcher": who,
            "plan": plan,
            "step": dice.choice(STEPS),
            "name": "m",
            "families": families,
            "digest": "d" * 64,
            "size": 1,
            "request": request,
        }
        study.say("gateway", "submission", body)
    elif what == "receipt":
        for one in study.projection.pending_submissions():
            researcher = study.projection.submissions[one].body["researcher"]
            study.say("evaluator", "score-receipt", {**receipt_body(one), "researcher": researcher}, (one,))
    elif what == "pause" and dice.random() < 0.3:
        study.say(dice.choice(("monitor", "reviewer-a", "operator")), "queue-paused", pause_of(""))
    elif what == "stop" and dice.random() < 0.5:
        name = who if dice.random() < 0.9 else "researcher-3"
        study.say(dice.choice(("operator", "reviewer-a")), "queue-paused", pause_of(name))
    elif what == "spend":
        spend(study, who if dice.random() < 0.3 else NAMES[0], dice)
    elif what == "use":
        use(study, who if dice.random() < 0.9 else "researcher-3", dice)
    elif what == "limit":
        limit(study, dice)
    elif what == "resume":
        pause = dice.choice([study.projection.paused, *study.projection.stops.values(), 0])
        study.say("reviewer-a", "queue-resumed", {"pause": max(pause, 0), "reason": "x"}, (max(pause, 0),))
    elif what == "close" and dice.random() < 0.05 and told is not None:
        outcome = dice.choice(("done", "budget"))
        body = {"task": task, "researcher": told.researcher, "outcome": outcome, "reason": ""}
        study.say("gateway", "task-closed", body)


def limit(study: Watched, dice: random.Random) -> None:
    """A limit near what was used so far: of a researcher, of a task or of the study."""
    account = study.projection.account
    spent = study.projection.spending.spent[NAMES[0]].tokens
    near = {
        "tokens": spent + dice.choice((-100, 2_000, 9_000)),
        "seconds": account.held_ms(NAMES[0], study.now_ms) // 1000 + dice.choice((-9, 20, 200)),
        "sandbox_seconds": account.used[NAMES[0]].sandbox_ms // 1000 + dice.choice((-1, 30, 90)),
        "submissions": account.used[NAMES[0]].submissions + dice.choice((0, 3, 9)),
    }
    names = dice.sample(sorted(near), dice.choice((1, 1, 2)))
    who = dice.choice(("", NAMES[0], NAMES[0], NAMES[1], "researcher-3"))
    task = dice.choice((*TASKS, "t9")) if dice.random() < 0.2 else ""
    who = "" if task else who
    # How many submissions a task or a study may have is looked at elsewhere, as a study's time is.
    names = [one for one in names if who or one in ("tokens", "sandbox_seconds")] or ["tokens"]
    limits = {one: max(near[one], 1) for one in names}
    body = {"researcher": who, "task": task, "limits": limits, "reason": "x"}
    study.say("reviewer-a", "budget-set", body)


def use(study: Watched, who: str, dice: random.Random) -> None:
    """A charge of sandboxes as the gateway would make it, or one that is wrong in a detail."""
    account, task = study.projection.account, dice.choice(("", *TASKS, "t9"))
    amount_ms = dice.choice((0, 5_000, 40_000))
    known = who in account.used
    limit, timely = sandbox_limit(account, who, task, amount_ms, study.now_ms) if known else ("", ())
    used = {"total": (account.used[who].sandbox_ms if known else 0) + amount_ms, "limit": limit}
    if timely and dice.random() < 0.5:
        used["limit"] = timely[0]
    if dice.random() < 0.1:
        used |= dice.choice(({"total": 1}, {"limit": "minutes"}, {"limit": "sandbox-seconds"}))
    body = {"researcher": who, "task": task, "what": "sandbox", "amount": amount_ms, "submission": -1}
    study.say("gateway", "budget-charged", {**body, "usage": used})


def pause_of(researcher: str) -> dict[str, Any]:
    body = {"researcher": researcher, "signal": "", "value": "", "limit": "", "reason": "x"}
    return {**body, "evidence": []}


def spend(study: Watched, who: str, dice: random.Random) -> None:
    """A charge as the gateway would make it, or one that is wrong in a detail."""
    spending = study.projection.spending
    before = spending.spent[NAMES[0]].calls
    this, task = Spent(calls=1, tokens=1_100, dollars=CALL_DOLLARS), dice.choice(("", *TASKS, "t9"))
    limit = spending.reached(NAMES[0], {NAMES[0]: this}) or spending.task_reached(task, this)
    told = usage(1, before=before, limit=limit)
    if dice.random() < 0.2:
        wrong: list[dict[str, Any]] = [{"dollars": "0.01"}, {"limit": "dollars"}, usage(1, before=before + 1)]
        told |= dice.choice(wrong)
    study.say("gateway", "budget-charged", charge(who, task, told))


@pytest.mark.parametrize("seed", range(6))
def test_gateway_and_verifier_agree_on_every_entry_of_a_queue_that_is_played_with(seed: int) -> None:
    dice = random.Random(seed)
    study = opened(("directed", "risk-tiered")[seed % 2], dice)
    for _round in range(ROUNDS):
        play(study, dice)
    assert study.disagreements == []
    assert sum(study.admitted.values()) > ROUNDS / 20
    assert len(set(study.refused) & OF_THE_QUEUE) >= 4
