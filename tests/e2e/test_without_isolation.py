"""`aar run --backend bare`: a program is debugged on a real study that says everywhere what it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aar.formats.keys import Signer
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.sandbox import bare
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import StudyFileError, parse_study
from aar.outside.study_run import StudyRun
from e2e.conftest import Finished
from small_study import SMALL, Commands

# It needs no sandbox: that is what it is about.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bare.missing() is not None, reason="no setpriv here"),
]

PROGRAM = """
import json, os, sys
from aar.inside.gateway_client import GatewayClient, GatewayError
from aar.lab.method_directory import method_files
from aar.lab.pipeline import parse_pipeline
client = GatewayClient()
client.study()
while (task := client.lease()) is not None:
    plan = client.plan(task["task"], [{"name": "s1", "what": "one"}])
    files = method_files(parse_pipeline([["probe", {}]]))
    try:
        client.submit(task=task["task"], plan=plan, step="s1", name="n", files=files, request="r")
    except GatewayError as error:
        print("REFUSED", error.code, error, file=sys.stderr)
    said = {"method": "", "numbers": {}, "receipts": [], "parents": []}
    client.finding(type="insight", title=task["task"], text=os.getcwd(), **said)
    client.done(task["task"], "done", "tried")
    print("KEY", os.environ.get("SECRET_KEY"), file=sys.stderr)
"""
STUDY = (
    SMALL.replace("researchers = 2", "researchers = 1")
    .replace('problem = "digits"', 'problem = "digits"\nheldout = ["claims"]')
    .replace("[[task]]", '[[researcher]]\nprogram = "mine.py"\n\n[[task]]', 1)
)


class Bare:
    """A study that ran to its close without a sandbox, and what was said of it."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        (commands.directory / "mine.py").write_text(PROGRAM)
        commands.environment["SECRET_KEY"] = "of the caller"
        self.path = commands.directory / "study"
        words = ("run", commands.study_file(STUDY), "--dir", str(self.path))
        self.ran = commands.run(*words, "--backend", "bare")

    def told(self, *words: str) -> str:
        """The standard error of a command that only looks."""
        done = self.commands.run(words[0], str(self.path), *words[1:])
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    return Bare(Commands(tmp_path_factory.mktemp("bare")))


def test_it_runs_to_its_close_with_the_banner_first_and_last(study: Bare) -> None:
    assert study.ran.returncode == 0, study.ran.stderr
    lines = study.ran.stderr.splitlines()
    assert lines[0].startswith("aar: NO ISOLATION: researchers run as plain processes with your rights")
    assert "NO ISOLATION" in lines[-1]
    views = [line for line in study.ran.stdout.splitlines() if " official runs · " in line]
    assert len(views) >= 2
    assert all("NO ISOLATION · small" in line for line in views)
    assert json.loads((study.path / "summary.json").read_text())["isolation"] == "none"


def test_every_entry_says_so_and_the_record_holds(study: Bare) -> None:
    entries = study.commands.entries(str(study.path))
    assert {entry.get("isolation") for entry in entries} == {"none"}
    authors = {entry["author"].split("-")[0] for entry in entries}
    assert authors == {"operator", "reviewer", "gateway", "researcher"}
    sandbox = entries[0]["body"]["sandbox"]
    assert (sandbox["backend"], sandbox["verdict"], sandbox["probes"]) == ("bare", "none", 0)
    verified = study.commands.json("verify", str(study.path), "--json")
    assert verified["verdict"] == "ok"
    assert any(warning.startswith("NO ISOLATION") for warning in verified["warnings"])
    again = study.commands.json("verify", str(study.path), "--json", "--incremental")
    assert again["verified_from"] == len(entries)
    assert any(warning.startswith("NO ISOLATION") for warning in again["warnings"])


def test_the_program_leases_plans_and_posts_and_what_it_hands_in_is_refused(study: Bare) -> None:
    kinds = [entry["kind"] for entry in study.commands.entries(str(study.path))]
    assert kinds.count("plan-declared") == kinds.count("finding") == kinds.count("task-leased") == 2
    assert not {"submission", "score-receipt", "score-revealed"} & set(kinds)
    charges = study.commands.entries(str(study.path), "--kind", "budget-charged")
    assert {one["body"]["what"] for one in charges} <= {"sandbox"}
    (said,) = (study.path / "log").glob("researcher-1.*.stderr")
    words = said.read_text()
    assert words.count("REFUSED no-isolation this study runs without a sandbox") == 2
    # Nothing of the caller's environment, wall or no wall.
    assert "KEY None" in words
    # Its directory went with it.
    (text,) = {
        entry["body"]["text"] for entry in study.commands.entries(str(study.path), "--kind", "finding")
    }
    assert not Path(text).exists()


def test_no_label_is_opened_for_it(study: Bare) -> None:
    opened = study.commands.entries(str(study.path))[0]["body"]
    assert (opened["pool"]["items"], opened["heldout"]) == (0, [])
    assert set(opened["baselines"].values()) == {"0.0000"}
    assert not list((study.path / "evaluator" / "payloads").glob("*"))


@pytest.mark.parametrize("command", ["status", "forum", "leaderboard", "record", "review"])
def test_every_view_of_it_says_so(study: Bare, command: str) -> None:
    assert "NO ISOLATION" in study.told(command)


def test_nothing_of_it_is_published(study: Bare) -> None:
    finding = study.commands.entries(str(study.path), "--kind", "finding")[0]["index"]
    done = study.commands.run("review", str(study.path), "publish", str(finding), "--override", "I want to")
    assert done.returncode == 2
    assert "nothing is handed in, scored or published" in done.stderr


def test_it_goes_on_with_its_own_backend_only_and_only_when_told_again(study: Bare) -> None:
    for words, says in (
        ((), "was opened without a sandbox: say --backend bare again"),
        (("--backend", "bubblewrap"), "goes on with that one only, not with bubblewrap"),
    ):
        done = study.commands.run("run", "--dir", str(study.path), *words)
        assert done.returncode == 2
        assert says in done.stderr
    assert study.commands.run("run", "--dir", str(study.path), "--backend", "bare").returncode == 0


def test_a_study_with_sandboxes_does_not_go_on_without(finished: Finished) -> None:
    done = finished.commands.run("run", "--dir", str(finished.path), "--backend", "bare")
    assert done.returncode == 2
    assert "was opened with backend bubblewrap and goes on with that one only, not with bare" in done.stderr


@pytest.mark.parametrize(("wanted", "probed"), [("container", "bubblewrap"), ("bubblewrap", "container")])
def test_no_study_runs_in_another_sandbox_than_was_probed(
    commands: Commands, wanted: str, probed: str
) -> None:
    text = f'{SMALL}\n[sandbox]\nbackend = "{wanted}"\n'
    file = parse_study(text, source="x", problems=STUDY_PROBLEMS)
    with pytest.raises(StudyFileError, match=f"wants the backend {wanted}, and what was probed is {probed}"):
        StudyRun(
            StudyDirectory(commands.directory / "study"),
            file,
            reviewer=Signer("reviewer-test", b"r" * 32),
            doctor=DoctorReport("ok", (), probed, {}, {}),
            on_moment=lambda _moment: None,
        )


def test_a_data_set_with_labels_is_not_opened_without_a_sandbox(commands: Commands) -> None:
    text = SMALL.replace('problem = "digits"', 'problem = "jsonl"\ndata = "mine"')
    done = commands.run("run", commands.study_file(text), "--dir", "study", "--backend", "bare")
    assert done.returncode == 2
    assert "--backend bare opens no labels" in done.stderr
    assert not (commands.directory / "study").exists()


def test_a_model_gets_no_shell_without_a_sandbox(commands: Commands) -> None:
    words = ("--model", "anthropic/claude-sonnet-4-5", "--dir", "study", "--backend", "bare")
    done = commands.run("run", commands.study_file(), *words)
    assert done.returncode == 2
    assert "would have a shell with your rights: run it in a sandbox" in done.stderr
    assert not (commands.directory / "study").exists()


def test_there_is_nothing_to_examine_in_it(commands: Commands) -> None:
    done = commands.run("doctor", "--backend", "bare")
    assert done.returncode == 2
    assert "no sandbox" in done.stderr


def test_a_command_runs_as_a_plain_process_under_a_banner(commands: Commands) -> None:
    code = "import os; print(os.getuid(), os.path.exists('/etc/hostname') or os.path.exists('/etc/passwd'))"
    done = commands.run("sandbox", "exec", "--backend", "bare", "--", "python3", "-c", code)
    assert done.stdout == f"{os.getuid()} True\n"
    assert done.stderr.startswith("aar: NO ISOLATION")
    assert done.returncode == 0
