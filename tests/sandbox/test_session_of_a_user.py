"""Sessions of an ordinary user, whose sandboxes have that user's uid."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ordinary_user import python_of_an_ordinary_user, run_as

pytestmark = pytest.mark.sandbox

PROGRAM = Path(__file__).with_name("session_of_a_user.py")


def test_a_session_holds_for_an_ordinary_user_whose_sandbox_could_open_its_pipes(backend: None) -> None:
    with python_of_an_ordinary_user() as (python, uid):
        ran = run_as(uid, [python, "-P", str(PROGRAM)], timeout_s=120)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "who": "1000",
        "forged": ["sandbox-died", False, "killed"],
        "late": ["wall", 1],
        "snapshot": {"a/b": "c"},
        "killed": ["sandbox-died", "exited"],
    }
    assert os.geteuid() != 0 or uid is not None
