"""`aar budget DIR set`: whose limits it takes."""

from __future__ import annotations

from argparse import Namespace

import pytest

from aar.cli.budget import _check_whose
from aar.cli.failures import CommandFailed
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
