"""Study files: what may be written in one, and what the refusal says."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from pathlib import Path

import pytest

from aar.formats.keys import COSIGNATURE, Signer, format_vkey
from aar.formats.kinds import check_body
from aar.lab.problems import DEFAULT_PROBLEM, STUDY_PROBLEMS
from aar.lab.problems import PROBLEMS as ALL_PROBLEMS
from aar.outside.study_file import (
    MODEL_DOLLARS,
    MODEL_TOKENS,
    MonitorSpec,
    StudyFile,
    StudyFileError,
    default_study_text,
    parse_study,
)
from aar.outside.study_run import ModelTerms, check_limits, check_monitor, monitor_of
from forge import opening

PROBLEMS = ("digits",)


def default() -> str:
    """The embedded study on digits, which holds nothing out."""
    return resources.files("aar.outside.studies").joinpath("digits.toml").read_text("utf-8")


def test_the_default_study_is_a_valid_study_file_with_both_workflows() -> None:
    study = parse_study(default_study_text(), source="default", problems=ALL_PROBLEMS)
    assert study.problem == DEFAULT_PROBLEM
    assert study.heldout
    assert {task.workflow for task in study.tasks} == {"fixed", "free"}
    assert study.submissions >= 30


def test_a_study_written_out_again_says_exactly_the_same() -> None:
    study = parse_study(default(), source="default", problems=PROBLEMS).with_minutes(1.5).as_written()
    again = parse_study(study.text, source="again", problems=PROBLEMS)
    assert (again.tasks, again.submissions, again.minutes) == (study.tasks, study.submissions, study.minutes)
    assert again.as_written().text == study.text


def on_data(study: str = 'problem = "jsonl"\ndata = "sets/mine"') -> str:
    return default().replace('problem = "digits"', study, 1)


def test_a_data_set_is_looked_for_beside_the_study_file_and_kept_as_a_whole_path() -> None:
    study = parse_study(on_data(), source="x", problems=STUDY_PROBLEMS)
    assert (study.problem, study.data) == ("jsonl", "sets/mine")
    written = study.with_data_from(Path("/studies")).as_written()
    again = parse_study(written.text, source="again", problems=STUDY_PROBLEMS)
    assert again.data == "/studies/sets/mine"
    assert again.with_data_from(Path("/elsewhere")).as_written().text == written.text
    with pytest.raises(StudyFileError, match="want a path in UTF-8 text"):
        study.with_data_from(Path("/studies/\udcff"))
    held_out = 'problem = "digits"\nheldout = ["jsonl"]\ndata = "mine"'
    assert parse_study(on_data(held_out), source="x", problems=STUDY_PROBLEMS).data == "mine"


@pytest.mark.parametrize(
    ("study", "says"),
    [
        ('problem = "jsonl"', "data: got nothing"),
        ('problem = "jsonl"\ndata = " "', "data: got ' '"),
        ('problem = "jsonl"\ndata = 3', "data: got 3"),
        ('problem = "digits"\nheldout = ["jsonl"]', "data: got nothing"),
        ('problem = "digits"\ndata = "mine"', "no problem here is that"),
        ('problem = "jsonl:mine"', "unknown problem 'jsonl:mine'"),
    ],
)
def test_a_data_set_is_named_where_a_problem_is_one_and_nowhere_else(study: str, says: str) -> None:
    with pytest.raises(StudyFileError, match=re.escape(says)):
        parse_study(on_data(study), source="x", problems=STUDY_PROBLEMS)


KEY = Signer("example.org/w1", b"1" * 32, COSIGNATURE)
TABLE = f"""
[[witness]]
name = "example.org/w1"
vkey = "{format_vkey(KEY.vkey)}"
url = "http://w.example:8080"
"""


VAULT = """
[[anchor]]
name = "vault"
kind = "s3"
bucket = "records"
prefix = "aar/"
region = "eu-central-1"
retain_days = 365

[[anchor]]
name = "copy"
kind = "mirror"
path = "/mnt/copy"

[[anchor]]
name = "worm"
kind = "directory"
path = "/mnt/worm"
append_only = true

[[task]]"""


def with_anchors(text: str = VAULT, study: str = "") -> str:
    return default().replace("[[task]]", text, 1).replace("[study]", f"[study]\n{study}", 1)


def test_anchors_are_read_and_written_again_as_they_are() -> None:
    study = parse_study(with_anchors(), source="x", problems=PROBLEMS)
    assert study.anchors_needed == 3
    assert [one.where for one in study.anchors] == ["s3/records/aar/", "/mnt/copy", "/mnt/worm"]
    assert [one.append_only for one in study.anchors] == [False, False, True]
    again = parse_study(study.as_written().text, source="x", problems=PROBLEMS)
    assert (again.anchors, again.anchors_needed) == (study.anchors, 3)
    fewer = parse_study(with_anchors(study="anchors = 2"), source="x", problems=PROBLEMS)
    assert parse_study(fewer.as_written().text, source="x", problems=PROBLEMS).anchors_needed == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('kind = "mirror"', 'kind = "tape"', "kind 'tape', want one of directory, mirror, s3"),
        ('path = "/mnt/copy"', 'path = "copy"', "want an absolute one"),
        ('path = "/mnt/copy"', 'path = "/mnt/worm"', "place /mnt/worm is that of another anchor"),
        ('name = "copy"', 'name = "vault"', "name vault is that of another anchor"),
        ("retain_days = 365", "retain_days = 0", "retain_days: got 0"),
        ("retain_days = 365", "", "retain_days"),
        ('prefix = "aar/"', 'prefix = "aar"', "want names that each end with a slash"),
        ('prefix = "aar/"', 'prefix = "../"', "want names that each end with a slash"),
        ('prefix = "aar/"', 'endpoint = "ftp://x"', "want http(s)://HOST[:PORT]"),
        ("append_only = true", 'append_only = "yes"', "want true or false"),
        ('kind = "mirror"', 'kind = "mirror"\nbucket = "x"', "bucket"),
        ('bucket = "records"', "", "bucket"),
    ],
)
def test_an_anchor_that_cannot_be_is_named(old: str, new: str, says: str) -> None:
    text = with_anchors().replace(old, new, 1)
    with pytest.raises(StudyFileError, match=re.escape(says)):
        parse_study(text, source="x", problems=PROBLEMS)


@pytest.mark.parametrize(
    ("study", "text", "says"),
    [
        ("anchors = 1", "[[task]]", "there are none"),
        ("anchors = 4", VAULT, "anchors: got 4"),
        ("anchors = 0", VAULT, "anchors: got 0"),
        ("", VAULT.replace("[[task]]", "\n[[anchor]]\nname = 'x'\n[[task]]"), "kind"),
    ],
)
def test_a_study_needs_no_more_anchors_than_it_has(study: str, text: str, says: str) -> None:
    with pytest.raises(StudyFileError, match=re.escape(says)):
        parse_study(with_anchors(text, study), source="x", problems=PROBLEMS)


def test_anchors_are_tables_and_not_too_many() -> None:
    for text in ("anchor = 1\n" + default(), "anchor = [1]\n" + default()):
        with pytest.raises(StudyFileError, match="anchor"):
            parse_study(text, source="x", problems=PROBLEMS)


def test_witnesses_that_are_not_ours_count_beside_the_local_one() -> None:
    assert parse_study(default(), source="default", problems=PROBLEMS).quorum == 1
    study = parse_study(default() + TABLE, source="default", problems=PROBLEMS)
    assert study.quorum == 2
    assert [one.url for one in study.witnesses] == ["http://w.example:8080"]
    again = parse_study(study.as_written().text, source="again", problems=PROBLEMS)
    assert (again.witnesses, again.quorum) == (study.witnesses, 2)


@pytest.mark.parametrize(
    ("was", "is_now", "told"),
    [
        ("[study]", "[study]\nquorum = 3", "quorum: got 3, want a whole number from 1 to 2"),
        ("[study]", "[study]\nquorum = 0", "quorum: got 0"),
        ('name = "example.org/w1"', 'name = "example.org/w2"', "its vkey says 'example.org/w1'"),
        ('name = "example.org/w1"', "", "name: got nothing"),
        ("http://w", "https://w", "want http://HOST"),
        (format_vkey(KEY.vkey), "example.org/w1+00000000+AAAA", "verifier key"),
        (format_vkey(KEY.vkey), format_vkey(Signer(KEY.name, b"1" * 32).vkey), "want a cosignature key"),
        (TABLE, TABLE + TABLE, "is that of [[witness]] 1"),
        (
            TABLE,
            TABLE.replace("example.org/w1", "witness-local").replace(
                format_vkey(KEY.vkey).replace("example.org/w1", "witness-local"),
                format_vkey(Signer("witness-local", b"1" * 32, COSIGNATURE).vkey),
            ),
            "is that of the local witness",
        ),
        ("\nurl =", "\ncolour = 1\nurl =", "unknown colour"),
        ("[[witness]]", "[witness]", "[[witness]]: want at most 15 tables"),
    ],
)
def test_a_wrong_witness_is_refused_in_one_line(was: str, is_now: str, told: str) -> None:
    text = default() + TABLE
    assert was in text
    with pytest.raises(StudyFileError, match=".") as refused:
        parse_study(text.replace(was, is_now), source="study.toml", problems=PROBLEMS)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_texts_with_quotes_and_non_ascii_survive_being_written_out() -> None:
    text = default().replace("Textbook tricks, in the human's order", 'Tricks \\"quoted\\" \\\\ λ 😀')
    study = parse_study(text, source="default", problems=PROBLEMS)
    assert parse_study(study.as_written().text, source="again", problems=PROBLEMS).tasks == study.tasks


def test_more_researchers_than_tasks_get_free_tasks_of_their_own() -> None:
    study = parse_study(default(), source="default", problems=PROBLEMS).with_researchers(5)
    assert len(study.tasks) == 5
    assert len({task.task for task in study.tasks}) == 5
    assert study.tasks[3].workflow == "free"


@pytest.mark.parametrize(
    ("was", "is_now", "told"),
    [
        ('problem = "digits"', 'problem = "nonsense"', "unknown problem 'nonsense'"),
        ("submissions = 12", "submissions = -1", "submissions: got -1"),
        ("submissions = 12", "submissions = true", "submissions: got True"),
        ("minutes = 2.5", "minutes = -2.5", "number of minutes above 0"),
        ("minutes = 2.5", "minutes = inf", "number of minutes above 0"),
        ("researchers = 3", "researchers = 0", "researchers: got 0"),
        ('workflow = "fixed"', 'workflow = "hybrid"', "another one has none"),
        ('workflow = "fixed"', 'workflow = "loose"', "want one of fixed, free, hybrid"),
        ('workflow = "fixed"', 'workflow = "free"', "another one has none"),
        ('task = "t2"', 'task = "t1"', "same name"),
        ('name = "digits"', 'name = "../up"', "want letters, digits"),
        ("[study]", "[study]\ncolour = 1", "unknown colour"),
        ("[study]", "[study", "not TOML"),
        ('title = "Textbook', 'titel = "Textbook', "unknown titel"),
    ],
)
def test_a_wrong_study_file_is_refused_in_one_line_that_names_the_fault(
    was: str, is_now: str, told: str
) -> None:
    assert was in default()
    with pytest.raises(StudyFileError, match=".") as refused:
        parse_study(default().replace(was, is_now), source="study.toml", problems=PROBLEMS)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_confirmations_and_problems_held_out_are_read_and_written_again() -> None:
    problems = ("digits", "overlap", "shortcut")
    plain = parse_study(default(), source="x", problems=problems)
    assert (plain.confirmations, plain.heldout) == (6, ())
    text = default().replace("seeds = 5", 'confirmations = 0\nheldout = ["shortcut", "overlap"]\nseeds = 5')
    study = parse_study(text, source="x", problems=problems)
    assert (study.confirmations, study.heldout) == (0, ("shortcut", "overlap"))
    again = parse_study(study.as_written().text, source="x", problems=problems)
    assert (again.confirmations, again.heldout) == (0, ("shortcut", "overlap"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("confirmations = -1", "want a whole number from 0"),
        ("heldout = 1", "want at most 16 of: overlap, shortcut"),
        ('heldout = ["digits"]', "want at most 16 of: overlap, shortcut"),
        ('heldout = ["nothing"]', "got \\['nothing'\\]"),
        ("heldout = [[1]]", "got \\[\\[1\\]\\]"),
        ('heldout = ["overlap", "overlap"]', "names a problem twice"),
    ],
)
def test_wrong_confirmations_and_problems_held_out_are_refused(line: str, says: str) -> None:
    text = default().replace("seeds = 5", f"{line}\nseeds = 5")
    with pytest.raises(StudyFileError, match=says):
        parse_study(text, source="x", problems=("digits", "overlap", "shortcut"))


def test_a_study_without_tasks_is_refused() -> None:
    text = default().split("[[task]]")[0]
    with pytest.raises(StudyFileError, match="at least one"):
        parse_study(text, source="study.toml", problems=PROBLEMS)


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_count_of_researchers_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(StudyFileError, match="--researchers"):
        parse_study(default(), source="default", problems=PROBLEMS).with_researchers(count)


HYBRID = """
[[task]]
task = "h"
title = "Within bounds"
workflow = "hybrid"
direction = "neighbours"
submissions = 6
priority = 9
risk = "medium"
[task.scope]
families = ["neighbourhood", "confidence"]
submissions = 3
programs = true
"""


def test_allocation_and_a_hybrid_task_are_read_and_written_again() -> None:
    lines = 'allocation = "bandit"\ndirections = ["north", "south"]'
    text = default().replace("seeds = 5", f"{lines}\nseeds = 5") + HYBRID
    study = parse_study(text, source="x", problems=PROBLEMS)
    assert (study.allocation, study.directions) == ("bandit", ("north", "south"))
    body = study.tasks[-1].as_body()
    assert body["scope"] == {"families": ["neighbourhood", "confidence"], "programs": 1, "submissions": 3}
    assert (body["priority"], body["risk"]) == (9, "medium")
    again = parse_study(study.as_written().text, source="x", problems=PROBLEMS)
    assert (again.tasks, again.allocation, again.directions) == (
        study.tasks,
        study.allocation,
        study.directions,
    )
    plain = parse_study(default(), source="x", problems=PROBLEMS)
    assert (plain.allocation, plain.directions) == ("directed", ())


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('allocation = "fair"', "allocation 'fair', want one of directed, undirected"),
        ('allocation = "bandit"', "at least two directions"),
        ('allocation = "undirected"\ndirections = ["north"]', "undirected gives out none"),
        ("directions = 1", "want a list of at most 64"),
        ('directions = [""]', "want 1 to 2000 characters"),
        ('directions = ["north", "north"]', "want each once"),
        (f"directions = {[str(number) * 1_000 for number in range(10, 19)]}", "18000 characters in all"),
        ('allocation = "risk-tiered"', ""),
    ],
)
def test_a_wrong_allocation_is_refused(lines: str, says: str) -> None:
    text = default().replace("seeds = 5", f"{lines}\nseeds = 5")
    if not says:
        parse_study(text, source="x", problems=PROBLEMS)
        return
    with pytest.raises(StudyFileError, match=says):
        parse_study(text, source="x", problems=PROBLEMS)


@pytest.mark.parametrize(
    ("was", "is_now", "says"),
    [
        ("[task.scope]", "[task.view]", "unknown view"),
        ('families = ["neighbourhood", "confidence"]\n', "", "families: got None"),
        ('"neighbourhood", ', '"astrology", ', "there is no family 'astrology'"),
        ('"neighbourhood", "confidence"', "", "1 to 64 items"),
        ("submissions = 3", "submissions = 0", "whole number from 1"),
        ("programs = true", "programs = 1", "want true or false"),
        ("programs = true", "depth = 1", "unknown depth"),
        ('workflow = "hybrid"', 'workflow = "free"', "a hybrid workflow has a"),
        ("priority = 9", "priority = 10", "whole number from 0 to 9"),
        ('risk = "medium"', 'risk = "mild"', "risk 'mild', want one of low, medium, high"),
    ],
)
def test_a_wrong_hybrid_task_is_refused(was: str, is_now: str, says: str) -> None:
    assert was in HYBRID
    with pytest.raises(StudyFileError, match=says):
        parse_study(default() + HYBRID.replace(was, is_now), source="x", problems=PROBLEMS)


def test_under_risk_tiers_a_risky_task_is_not_free() -> None:
    text = default().replace("seeds = 5", 'allocation = "risk-tiered"\nseeds = 5')
    parse_study(text + HYBRID, source="x", problems=PROBLEMS)
    with pytest.raises(StudyFileError, match="a task of high risk is fixed, this one is hybrid"):
        parse_study(text + HYBRID.replace('"medium"', '"high"'), source="x", problems=PROBLEMS)


MODEL = 'model = "anthropic/claude-sonnet-4-5"'


def with_team(text: str) -> str:
    return default().replace("[[task]]", f"{text}\n\n[[task]]", 1)


def test_a_researcher_may_be_a_model_with_limits_of_its_own_and_of_all() -> None:
    text = with_team(
        f'[[researcher]]\n{MODEL}\ntokens = 5\ndollars = 2.5\n[[researcher]]\nprogram = "mine.py"\n'
        f'[[researcher]]\n{MODEL}\n[budget]\ndollars = "3.0012"\n[llm]\nprices = "p.toml"\nbrief = "b.md"'
    )
    study = parse_study(text, source="x", problems=PROBLEMS)
    first, second, third = study.team
    assert (first.tokens, first.dollars) == (5, Fraction(5, 2))
    assert (second.model, second.tokens) == ("", 0)
    assert (third.tokens, third.dollars) == (MODEL_TOKENS, MODEL_DOLLARS)
    assert (study.tokens, study.dollars) == (5 + MODEL_TOKENS, Fraction("3.0012"))
    assert study.models == ("anthropic/claude-sonnet-4-5",)
    placed = study.with_llm_files_from(Path("/studies"))
    assert (placed.prices, placed.brief) == ("/studies/p.toml", "/studies/b.md")
    written = placed.as_written()
    again = parse_study(written.text, source="again", problems=PROBLEMS)
    assert again.as_written() == written


def test_a_model_may_think_through_an_agent_whose_program_is_named(tmp_path: Path) -> None:
    text = with_team(
        f'[[researcher]]\n{MODEL}\nagent = "codex"\n[[researcher]]\n{MODEL}\n'
        '[llm.agents]\ncodex = "bin/codex"'
    )
    study = parse_study(text, source="x", problems=PROBLEMS).with_llm_files_from(tmp_path)
    assert [one.agent for one in study.team] == ["codex", ""]
    assert (study.agents, study.agent_programs) == (("codex",), {"codex": str(tmp_path / "bin/codex")})
    written = study.as_written()
    again = parse_study(written.text, source="again", problems=PROBLEMS)
    assert again.as_written() == written
    both = study.with_agent("claude-code", "/bin/claude")
    assert [one.agent for one in both.team] == ["codex", "claude-code"]
    assert both.agent_programs["claude-code"] == "/bin/claude"


def test_an_agent_without_a_model_is_refused() -> None:
    with pytest.raises(StudyFileError, match="no researcher that is a model: see --model"):
        parse_study(default(), source="x", problems=PROBLEMS).with_agent("codex")


def test_a_model_takes_the_place_of_every_researcher_that_the_file_says_nothing_of() -> None:
    text = with_team('[[researcher]]\nprogram = "mine.py"\n[[researcher]]\nseed = 4')
    study = parse_study(text, source="x", problems=PROBLEMS).with_researchers(4).with_model("openai/gpt-5")
    assert [one.model for one in study.team] == ["", *["openai/gpt-5"] * 3]
    assert study.team[1].seed == 4
    assert (study.tokens, study.dollars) == (3 * MODEL_TOKENS, 3 * MODEL_DOLLARS)
    assert study.with_budget(7, None).tokens == 7


LIMITED = (
    "[[researcher]]\nminutes = 1.5\nsandbox_seconds = 60\nsubmissions = 3\n[[researcher]]\n"
    f"[[researcher]]\n{MODEL}\nminutes = 0.001\n[budget]\nsandbox_seconds = 90"
)
OF_A_TASK = '[[task]]\ntokens = 5\ndollars = "0.5"\nminutes = 2\nsandbox_seconds = 7'


def test_limits_of_researchers_tasks_and_the_study_are_read_and_written_again() -> None:
    text = with_team(LIMITED).replace("[[task]]", OF_A_TASK, 1)
    study = parse_study(text, source="x", problems=PROBLEMS)
    names = ["researcher-1", "researcher-2", "researcher-3"]
    assert study.limits_of(names) == [
        {"researcher": "", "limits": {"sandbox_seconds": 90}},
        {"researcher": "researcher-1", "limits": {"seconds": 90, "sandbox_seconds": 60, "submissions": 3}},
        {"researcher": "researcher-3", "limits": {"seconds": 1}},
    ]
    first, second, *_ = (task.as_body()["limits"] for task in study.tasks)
    assert first == {"tokens": 5, "dollars": "0.50", "seconds": 120, "sandbox_seconds": 7}
    assert second == {}
    written = study.as_written()
    assert parse_study(written.text, source="again", problems=PROBLEMS).as_written() == written
    assert parse_study(default(), source="x", problems=PROBLEMS).limits_of(names) == []


def test_a_study_without_models_may_bound_its_sandboxes() -> None:
    study = parse_study(with_team("[budget]\nsandbox_seconds = 5"), source="x", problems=PROBLEMS)
    assert (study.sandbox_seconds, study.tokens) == (5, 0)
    assert parse_study(study.as_written().text, source="x", problems=PROBLEMS).sandbox_seconds == 5


def test_limits_that_no_entry_can_say_together_are_refused_at_once() -> None:
    each = f'[[researcher]]\n{MODEL}\ndollars = "600000000"\n'
    with pytest.raises(StudyFileError, match=r"dollars of all models together: 1200000000.00, at most 99"):
        parse_study(with_team(2 * each), source="x", problems=PROBLEMS)
    parse_study(with_team(2 * each + "[budget]\ndollars = 9"), source="x", problems=PROBLEMS)


@pytest.mark.parametrize(
    ("team", "says"),
    [
        ("[[researcher]]\nminutes = 0", "minutes: got 0, want a number of minutes above 0"),
        ("[[researcher]]\nsandbox_seconds = 1.5", "sandbox_seconds: got 1.5, want a whole number"),
        ("[[researcher]]\nsubmissions = 0", "submissions: got 0"),
        ("[budget]\nsandbox_seconds = 0", r"\[budget\]: sandbox_seconds: got 0"),
        ("[budget]\nminutes = 5", "unknown minutes"),
        ("[budget]\nsandbox_seconds = 5\ntokens = 5", "of researchers with a model: there is none"),
        (f'[[researcher]]\n{MODEL}\nprogram = "mine.py"', "a program or a model, not both"),
        ("[[researcher]]\ntokens = 5", "tokens is for a researcher with a model"),
        ('[[researcher]]\nmodel = "claude"', "want PROVIDER/NAME"),
        ('[[researcher]]\nmodel = "a/../b"', "want PROVIDER/NAME"),
        (f"[[researcher]]\n{MODEL}\ntokens = 0", "tokens: got 0"),
        (f"[[researcher]]\n{MODEL}\ndollars = 0", "want more than nothing"),
        (f'[[researcher]]\n{MODEL}\ndollars = "ten"', "want dollars such as '2.50'"),
        (f"[[researcher]]\n{MODEL}\ndollars = true", "want dollars such as"),
        (f"[[researcher]]\n{MODEL}\ndollars = 1e300", "want dollars such as"),
        ('[[researcher]]\nagent = "codex"', "agent is for a researcher with a model"),
        (f'[[researcher]]\n{MODEL}\nagent = "gemini"', "got 'gemini', want one of claude-code, codex"),
        (f"[[researcher]]\n{MODEL}\nagent = 5", "got 5, want one of claude-code, codex"),
        (f'[[researcher]]\n{MODEL}\n[llm.agents]\ngemini = "x"', "unknown gemini"),
        (f"[[researcher]]\n{MODEL}\n[llm.agents]\ncodex = 5", "codex: got 5"),
        (f"[[researcher]]\n{MODEL}\n[llm]\nagents = 5", "no .agents. table"),
        ("[budget]\ntokens = 5", "of researchers with a model: there is none"),
        (f"[[researcher]]\n{MODEL}\n[budget]\nmoney = 5", "unknown money"),
        (f"[[researcher]]\n{MODEL}\n[llm]\nprices = 5", "prices: got 5"),
        (f"[[researcher]]\n{MODEL}\n[llm]\nprice = 5", "unknown price"),
    ],
)
def test_what_is_wrong_with_a_model_or_its_budget_is_said(team: str, says: str) -> None:
    with pytest.raises(StudyFileError, match=says):
        parse_study(with_team(team), source="x", problems=PROBLEMS)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("tokens = 0", "tokens: got 0"),
        ('dollars = "x"', "want dollars such as"),
        ("minutes = true", "minutes: got True"),
        ("sandbox_seconds = -1", "sandbox_seconds: got -1"),
    ],
)
def test_what_is_wrong_with_the_limits_of_a_task_is_said(line: str, says: str) -> None:
    with pytest.raises(StudyFileError, match=rf"\[\[task\]\] 1: .*{says}"):
        parse_study(default().replace("[[task]]", f"[[task]]\n{line}", 1), source="x", problems=PROBLEMS)


# Which sandboxes.


def parsed(sandbox: str = "") -> StudyFile:
    text = default() + (f"\n[sandbox]\n{sandbox}\n" if sandbox else "")
    return parse_study(text, source="x", problems=PROBLEMS)


def test_the_backend_is_bubblewrap_unless_the_file_says_otherwise() -> None:
    assert parsed().backend == "bubblewrap"
    assert "[sandbox]" not in parsed().as_written().text


def test_a_file_cannot_ask_for_no_sandbox() -> None:
    with pytest.raises(StudyFileError, match="'bare' is no sandbox, and no file may ask for it"):
        parsed('backend = "bare"')


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('backend = "docker-in-docker"', "backend 'docker-in-docker', want one of bubblewrap"),
        ("backend = 1", "backend 1, want one of bubblewrap"),
        ('more = "x"', "unknown more"),
    ],
)
def test_another_backend_than_there_is_is_refused(table: str, says: str) -> None:
    with pytest.raises(StudyFileError, match=says):
        parsed(table)


def test_a_monitor_may_be_a_model_with_terms_of_its_own() -> None:
    text = with_team(f'[monitor]\n{MODEL}\ntokens = 7\ndollars = "0.5"\nevery_turns = 3\nhold = false')
    study = parse_study(text, source="x", problems=PROBLEMS)
    assert study.monitor == MonitorSpec(
        model="anthropic/claude-sonnet-4-5", tokens=7, dollars=Fraction("0.5"), every_turns=3, hold=False
    )
    # It is no researcher: what they may spend is theirs.
    assert (study.models, study.asked, study.tokens) == ((), ("anthropic/claude-sonnet-4-5",), 0)
    written = study.as_written()
    assert parse_study(written.text, source="again", problems=PROBLEMS).as_written() == written
    other = study.with_monitor("openai/gpt-5")
    assert other.monitor is not None
    assert (other.monitor.model, other.monitor.tokens, other.monitor.hold) == ("openai/gpt-5", 7, False)
    default_one = parse_study(default(), source="x", problems=PROBLEMS).with_monitor("openai/gpt-5").monitor
    assert default_one == MonitorSpec(model="openai/gpt-5")
    assert default_one.hold


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", r"\[monitor\]: model: got nothing"),
        ('model = "claude"', "want PROVIDER/NAME"),
        (f"{MODEL}\ntokens = 0", "tokens: got 0"),
        (f"{MODEL}\ndollars = 0", "want more than nothing"),
        (f"{MODEL}\nevery_turns = 0", "every_turns: got 0"),
        (f"{MODEL}\nhold = 1", "hold: got 1, want true or false"),
        (f"{MODEL}\napproves = true", "unknown approves"),
    ],
)
def test_a_monitor_s_table_says_what_is_wrong_in_it(lines: str, says: str) -> None:
    with pytest.raises(StudyFileError, match=says):
        parse_study(with_team(f"[monitor]\n{lines}"), source="x", problems=PROBLEMS)


TERMS = ModelTerms(
    prices={
        "anthropic/claude-sonnet-4-5": dict.fromkeys(("input", "output", "cache_read", "cache_write"), "1.00")
    },
    brief="",
    environment={},
    instructions="read",
)


def test_a_study_goes_on_with_the_monitor_that_it_was_opened_with() -> None:
    study = parse_study(with_team(f"[monitor]\n{MODEL}"), source="x", problems=PROBLEMS)
    opened = monitor_of(study, TERMS)
    check_body("study-opened", {**opening(), "monitor": opened})
    check_monitor(opened, study, TERMS)
    check_monitor({}, parse_study(default(), source="x", problems=PROBLEMS), None)
    told_otherwise = replace(TERMS, instructions="look away")
    for other, terms in (
        (parse_study(default(), source="x", problems=PROBLEMS), None),
        (study.with_monitor("openai/gpt-5"), TERMS),
        (study, told_otherwise),
    ):
        with pytest.raises(StudyFileError, match="opened with another monitor than this"):
            check_monitor(opened, other, terms)
    with pytest.raises(StudyFileError, match="opened with another monitor than this"):
        check_monitor({}, study, TERMS)


def test_a_study_goes_on_with_the_limits_that_it_was_opened_with_alone() -> None:
    told = parse_study(with_team(LIMITED), source="x", problems=PROBLEMS)
    opened = told.limits_of(["researcher-1", "researcher-2", "researcher-3"])
    check_limits(opened, opened)
    for mine in (opened[1:], [], [*opened[:-1], {"researcher": "researcher-3", "limits": {"seconds": 2}}]):
        with pytest.raises(StudyFileError, match="opened with other limits than these"):
            check_limits(opened, mine)
