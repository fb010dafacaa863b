"""`aar budget DIR set`: whose limits it takes, and what is left then."""

from __future__ import annotations

from argparse import Namespace

import pytest

from aar.cli.budget import _check_whose, account
from aar.cli.failures import CommandFailed
from aar.outside.budgets import told_of_use
from aar.outside.gateway.staff_desk import summary
from outside.test_admission import Study, opening
from spending import monitor


def test_a_monitor_that_is_a_model_has_limits_to_set_and_no_other_monitor_has() -> None:
    study, other, options = Study(), Study(), Namespace(researcher="monitor", task=None)
    study.say("operator", "study-opened", opening(monitor=monitor()))
    other.say("operator", "study-opened", opening())
    _check_whose(study.projection, options)
    with pytest.raises(CommandFailed, match="there is no researcher monitor"):
        _check_whose(other.projection, options)
    with pytest.raises(CommandFailed, match="there is: researcher-1, researcher-2, monitor"):
        _check_whose(study.projection, Namespace(researcher="researcher-9", task=None))


def test_of_a_limit_set_below_what_was_used_nothing_is_left() -> None:
    study = Study()
    study.say("operator", "study-opened", opening())
    study.task()
    study.lease("researcher-1")
    plan = study.plan("researcher-1")
    study.submit(plan, "one")
    study.submit(plan, "two")
    for task in ("", "t1"):
        limits = {"submissions": 1} if task else {"submissions": 1, "seconds": 1}
        body = {"researcher": "", "task": task, "limits": limits, "reason": "x"}
        study.say("reviewer-a", "budget-set", body)
    projection, now_ms = study.projection, study.now_ms
    assert projection.submissions_left == projection.tasks["t1"].submissions_left == 0
    status = {**summary(projection, now_ms=now_ms), "use": told_of_use(projection, now_ms)}
    told = account(projection.spending, status, sandbox_s=None)["in_all"]
    assert told["submissions"]["left"] == told["seconds"]["left"] == 0
