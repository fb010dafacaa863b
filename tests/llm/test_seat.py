"""A seat's tools: what is left of a model's limits, and a sandbox or gateway that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aar.inside.gateway_client import GatewayLost
from aar.llm.seat import Seat
from aar.llm.worker_config import Place
from aar.llm.worker_desk import Standing
from aar.outside.sandbox.asked import Snapshot
from aar.outside.sandbox.session import Session
from aar.outside.sandbox.spec import SandboxError
from aar.outside.staff_client import GatewayGone

STUDY = {
    "researcher": "researcher-1",
    "budget": {"submissions_left": 3, "confirmations_left": 1},
    "now_ms": 0,
    "deadline_ms": 9_000,
}


class Desk:
    def __init__(self, answer: Standing | GatewayGone) -> None:
        self.answer = answer

    def standing(self, _researcher: str) -> Standing:
        if isinstance(self.answer, GatewayGone):
            raise self.answer
        return self.answer


def no_sandbox(_place: Place) -> Session:
    raise SandboxError("there is no room for another")


def seat(directory: Path, monkeypatch: pytest.MonkeyPatch, answer: Standing | GatewayGone) -> Seat:
    place = Place(
        name="researcher-1", model="m", gateway=str(directory / "gw.sock"), gateway_dir=str(directory), slot=0
    )
    desk: Any = Desk(answer)
    found = Seat(place, desk, no_sandbox)
    monkeypatch.setattr(found.gateway, "study", lambda: STUDY)
    return found


def test_budget_tells_what_is_left_of_every_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standing = Standing("", {"tokens": 7, "dollars": "0.01", "seconds": 5, "submissions": 2})
    told = seat(tmp_path, monkeypatch, standing).use("budget", {})
    left = {"tokens": 7, "dollars": "0.01", "submissions": 3, "confirmations": 1, "seconds": 9}
    assert (json.loads(told.text), told.is_error) == ({"left": left}, False)


def test_a_gateway_that_went_away_is_lost_to_the_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = seat(tmp_path, monkeypatch, GatewayGone("the gateway does not answer"))
    with pytest.raises(GatewayLost, match="does not answer"):
        lost.use("budget", {})


def test_a_sandbox_that_does_not_start_is_a_line_for_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = seat(tmp_path, monkeypatch, Standing("")).use("put_snapshot", {"directory": "notes"})
    assert told.is_error
    assert "cannot be read: there is no room for another" in told.text


def test_what_of_a_workspace_is_not_kept_is_told_once_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Snapshot()
    found |= {"notebook.md": b"so far", "__pycache__/a.pyc": b"", "forum/0001.md": b""}
    found.skipped = {
        "forum": "symlink",
        "pipe": "not-a-file",
        **{f"link-{one}": "symlink" for one in range(9)},
    }
    place = seat(tmp_path, monkeypatch, Standing(""))
    session: Any = SimpleNamespace(snapshot=lambda _folder, **_caps: found)
    place._session = session
    line = place.keep()
    assert place.files == {"notebook.md": b"so far"}
    assert line.startswith("[not kept if your sandbox has to be started again: link-0 (symlink), link-1")
    assert line.endswith("link-7 (symlink) and 2 more]")
    assert place.keep() == ""
