"""Signatures checked ahead: neither how many processes there are nor their health changes the report."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aar.formats.keys import Signer
from aar.verify import study
from aar.verify.entry_check import EntryCheck
from aar.verify.signatures_ahead import Answers, Question, SignaturesAhead
from aar.verify.study import verify_study
from forge import Forge, with_comments

KEY, OTHER = Signer("researcher-1", b"1" * 32), Signer("researcher-1", b"2" * 32)
QUESTIONS: list[Question] = [
    (KEY.vkey, "text\n", KEY.sign("text\n").signature),
    (KEY.vkey, "other\n", KEY.sign("text\n").signature),
]
# With the honest study's own entries, three bundles: the first enrols, two are asked about.
VOTES = 700


@pytest.fixture(scope="module")
def forge() -> Forge:
    return with_comments(VOTES)


@pytest.fixture(scope="module")
def ahead() -> Iterator[SignaturesAhead]:
    with SignaturesAhead(2) as processes:
        yield processes


@pytest.mark.parametrize("jobs", [1, 0, -1])
def test_fewer_than_two_processes_are_refused(jobs: int) -> None:
    with pytest.raises(ValueError, match="want 2 or more"):
        SignaturesAhead(jobs)


def test_what_was_asked_is_answered_as_without_processes(ahead: SignaturesAhead) -> None:
    good = KEY.sign("text\n").signature
    questions: list[Question] = [
        (KEY.vkey, "text\n", good),
        (KEY.vkey, "other\n", good),
        (OTHER.vkey, "text\n", good),
        (KEY.vkey, "text\n", b""),
    ]
    answers = ahead.ask(questions)
    assert [answers.vouches(*one) for one in questions] == [True, False, False, False]


def test_what_was_not_asked_is_not_answered_from_something_else(ahead: SignaturesAhead) -> None:
    good = KEY.sign("text\n").signature
    answers = ahead.ask([(KEY.vkey, "text\n", good)])
    assert answers.vouches(KEY.vkey, "text\n", good)
    assert not answers.vouches(KEY.vkey, "other\n", good)
    assert not answers.vouches(OTHER.vkey, "text\n", good)
    assert answers.vouches(OTHER.vkey, "text\n", OTHER.sign("text\n").signature)


def test_a_process_that_died_leaves_its_questions_to_this_one() -> None:
    with SignaturesAhead(2) as processes:
        answers = processes.ask(QUESTIONS)
        assert processes._pool is not None
        for number in [*processes._pool._processes]:
            os.kill(number, signal.SIGKILL)
        assert [answers.vouches(*one) for one in QUESTIONS] == [True, False]
        later = processes.ask(QUESTIONS)
        assert [later.vouches(*one) for one in QUESTIONS] == [True, False]


def test_where_no_process_can_be_started_this_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refuse)
    with SignaturesAhead(2) as processes:
        answers = processes.ask(QUESTIONS)
        assert [answers.vouches(*one) for one in QUESTIONS] == [True, False]


class Told(SignaturesAhead):
    """No processes: keeps what was asked, and gives one answer to everything."""

    asked: list[Question] = []  # noqa: RUF012
    answer = True

    def ask(self, questions: Sequence[Question]) -> Answers:
        self.asked.extend(questions)
        return Answers(questions, [self.answer for _one in questions])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    monkeypatch.setattr(study, "SignaturesAhead", Told)
    monkeypatch.setattr(Told, "asked", [])
    return Told


def test_every_signature_after_the_first_bundle_is_asked_about(
    forge: Forge, tmp_path: Path, told: type[Told]
) -> None:
    directory = forge.write(tmp_path / "study")
    assert verify_study(directory).verdict == "ok"
    assert told.asked == []
    assert verify_study(directory, jobs=2).verdict == "ok"
    assert len(told.asked) == sum(len(draft.signers) for draft in forge.drafts[256:])


def test_no_more_bundles_wait_than_are_let(
    forge: Forge, tmp_path: Path, told: type[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    finish = EntryCheck.finish

    def counted(entries: EntryCheck) -> None:
        waiting.append(len(entries._waiting))
        finish(entries)

    monkeypatch.setattr(told, "most_open", 1)
    monkeypatch.setattr(EntryCheck, "finish", counted)
    assert verify_study(forge.write(tmp_path / "study"), jobs=2).verdict == "ok"
    assert waiting == [1]


def test_the_answers_are_what_counts(
    forge: Forge, tmp_path: Path, told: type[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "answer", False)
    report = verify_study(forge.write(tmp_path / "study"), jobs=2, pause=lambda _seconds: None)
    assert {one.code for one in report.findings} == {"AUTHOR_SIG"}
    assert report.findings[0].first_index == 256


def damaged() -> Forge:
    """What `EntryCheck` finds, in each of the bundles, some of it where signatures are asked about."""
    forge = with_comments(VOTES)
    forge["remark-10"].edit = lambda leaf: leaf.replace(b'"remark', b'"remArk')
    forge["remark-300"].edit = lambda leaf: leaf.replace(b'"remark', b'"remArk')
    forge["remark-301"].index = 7
    forge["remark-302"].raw = b"noise"
    forge["remark-400"].signers = [forge.keys["r1"]]
    forge["remark-401"].signers = [forge.keys["r2"], forge.keys["r1"]]
    stranger = Signer("stranger", b"s" * 32)
    forge["remark-500"].author, forge["remark-500"].signers = "stranger", [stranger]
    forge["remark-501"].signers = [Signer("r2", b"s" * 32)]
    forge["remark-650"].received_ms = 1
    forge["remark-699"].body = {"on": 0, "text": ""}
    return forge


@pytest.mark.parametrize("is_damaged", [False, True])
def test_the_report_is_the_same_with_two_processes(tmp_path: Path, forge: Forge, is_damaged: bool) -> None:
    directory = (damaged() if is_damaged else forge).write(tmp_path / "study")
    reports: list[Any] = [verify_study(directory, jobs=jobs, pause=lambda _seconds: None) for jobs in (1, 2)]
    assert reports[0].verdict == ("tampered" if is_damaged else "ok")
    assert len(reports[0].findings) >= (10 if is_damaged else 0)
    assert reports[0].as_json() == reports[1].as_json()
    assert reports[0].findings == reports[1].findings
    assert reports[0].bookmark == reports[1].bookmark
