"""A provider's key in an error stays out of the log, the record and the transcript."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from aar.llm import worker
from aar.llm.inspect_talk import one_line, prepared

# Without the beginning that many keys have.
KEY = "AIza0123456789+/abcdef="


@pytest.fixture(autouse=True)
def a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME_API_KEY", f"{KEY}\n")


def test_a_line_for_the_record_has_no_key_in_it() -> None:
    assert one_line(f"header {KEY!r} is illegal") == "header '(NAME_API_KEY)' is illegal"
    # Also where the line is cut: half a key is one, too.
    assert KEY[:4] not in one_line("x" * 290 + KEY)


def test_a_line_for_the_log_has_no_key_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    worker.say(f"header {KEY} is illegal, and so is Bearer 0123456789")
    assert capsys.readouterr().err == "worker: header (NAME_API_KEY) is illegal, and so is Bearer-...\n"


def test_an_error_for_the_transcript_has_no_key_in_it() -> None:
    async def generate() -> None:
        try:
            raise ValueError(f"illegal: {KEY}")
        except ValueError as error:
            raise RuntimeError(f"no answer: {KEY}") from error

    model: Any = SimpleNamespace(api=SimpleNamespace(generate=generate))
    with pytest.raises(RuntimeError, match="no answer") as raised:
        anyio.run(prepared(model).api.generate)
    assert KEY not in str(raised.value)
    assert KEY not in str(raised.value.__cause__)


def test_an_error_that_is_handed_back_has_no_key_in_it() -> None:
    async def generate() -> tuple[Exception, str]:
        return ValueError(f"illegal: {KEY}"), "the call"

    model: Any = SimpleNamespace(api=SimpleNamespace(generate=generate))
    error, call = anyio.run(prepared(model).api.generate)
    assert (str(error), call) == ("illegal: (NAME_API_KEY)", "the call")
