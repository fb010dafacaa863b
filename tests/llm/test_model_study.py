"""Three researchers that are models do a whole study, in real sandboxes, by real client libraries.

One study, in a network of its own with nothing but loopback, and many questions to it. Two researchers speak
to a server of ours with Anthropic's protocol, which fails one of them in every way that it can; the third to
an OpenAI-compatible one.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.cli.trace import trace
from aar.llm import inspect_trace
from docs.test_readme import Shown, shown_commands
from llm import policies
from llm.fake_anthropic import fake_anthropic
from llm.fake_model import CANARY_KEY, FakeModel, Reply, Request
from llm.fake_openai import fake_openai
from llm.model_study import CLAUDE, OTHER, ModelStudy, dollars_of, prepare, study_text
from llm.offline import in_own_network, is_permitted
from small_study import Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "llm-researchers.md").read_text("utf-8")
COMMANDS = shown_commands(PAGE)
TEAM = ("researcher-1", "researcher-2", "researcher-3")
# The key is put together in there: its own text would be found.
SEARCH = f"""
import os
wanted = ({CANARY_KEY[:12]!r} + {CANARY_KEY[12:]!r}).encode()
found, seen = [], 0
def look(name, data):
    global seen
    seen += 1
    if wanted in data:
        found.append(name)
look('environ', repr(dict(os.environ)).encode())
me = str(os.getpid())
for pid in filter(str.isdigit, os.listdir('/proc')):
    for name in ('environ', 'cmdline', 'maps'):
        try:
            look(f'/proc/{{pid}}/{{name}}', open(f'/proc/{{pid}}/{{name}}', 'rb').read())
        except OSError:
            pass
    try:
        maps = open(f'/proc/{{pid}}/maps').read().splitlines() if pid != me else []
        with open(f'/proc/{{pid}}/mem', 'rb', 0) as memory:
            for line in maps:
                first, last = (int(one, 16) for one in line.split()[0].split('-'))
                if line.split()[1][0] == 'r' and last - first < 1 << 27 and '[v' not in line:
                    try:
                        memory.seek(first)
                        look(f'memory of {{pid}}', memory.read(last - first))
                    except (OSError, OverflowError):
                        pass
    except OSError:
        pass
for folder, names, files in os.walk('/'):
    if folder == '/':
        names[:] = [one for one in names if one not in ('proc', 'sys', 'usr', 'lib', 'lib64')]
    for name in files:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.path.getsize(path) < 1 << 20:
            try:
                look(path, open(path, 'rb').read())
            except OSError:
                pass
print('looked at', seen, 'and found', found)
"""


def searching(request: Request) -> Reply:
    """As `diligent`, and looks for the key everywhere in its sandbox before it finishes."""
    reply = policies.diligent(request)
    is_last = any(name == "finish_task" for name, _arguments in reply.calls)
    if is_last and len(request.results_of("python")) < 2:
        return Reply("Is there a key here?", (policies.call(request, "python", code=SEARCH),))
    return reply


class Ran:
    """The study, and both providers as they were left."""

    def __init__(self, study: ModelStudy, claude: FakeModel, other: FakeModel) -> None:
        self.study, self.claude, self.other = study, claude, other
        self.accounts = claude.accounts | other.accounts

    def requests_of(self, researcher: str) -> list[Request]:
        return [one for one in [*self.claude.requests, *self.other.requests] if one.researcher == researcher]


def run_study(directory: Path) -> Ran:
    commands = Commands(directory)
    claude, other = fake_anthropic(searching), fake_openai(searching)
    claude.faults = {
        ("researcher-2", 1): ["529", "429", "drop"],
        ("researcher-2", 2): ["500", "malformed"],
        ("researcher-2", 3): ["cut"],
    }
    with claude, other:
        prepare(commands, claude, other)
        text = study_text([f'model = "{CLAUDE}"', f'model = "{CLAUDE}"', f'model = "{OTHER}"'], tasks=3)
        path = directory / "study"
        done = commands.run(*("run", commands.study_file(text), "--dir", str(path), "--json"), timeout_s=280)
    assert done.returncode == 0, done.stderr
    return Ran(ModelStudy(commands, path, done.stdout, said=done.stderr), claude, other)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    directory = tmp_path_factory.mktemp("models")
    work = functools.partial(run_study, directory)
    yield in_own_network(work) if is_permitted() else work()
    shutil.rmtree(directory, ignore_errors=True)


def test_the_record_holds_and_each_researcher_planned_submitted_and_reported(ran: Ran) -> None:
    assert ran.claude.errors + ran.other.errors == []
    assert ran.study.commands.run("verify", str(ran.study.path)).returncode == 0
    for name in TEAM:
        assert len(ran.study.by(name, "plan-declared")) == 1
        assert len(ran.study.by(name, "submission")) == 1
        (finding,) = ran.study.by(name, "finding")
        (receipt,) = [one for one in ran.study.of("score-receipt") if one["index"] in finding["receipts"]]
        assert receipt["body"]["researcher"] == name
    assert {one["body"]["outcome"] for one in ran.study.of("task-closed")} == {"done"}


def test_one_commented_on_what_another_found(ran: Ran) -> None:
    authors = {one["index"]: one["author"] for one in ran.study.of("finding")}
    comments = [one for one in ran.study.of("comment") if one["author"] in TEAM]
    assert comments
    assert all(authors[one["body"]["on"]] != one["author"] for one in comments)


def test_tokens_and_dollars_of_the_record_are_the_providers_own_count(ran: Ran) -> None:
    for name in TEAM:
        account, spent = ran.accounts[name], ran.study.spent(name)
        assert spent.calls == account.calls
        assert spent.tokens == {key: getattr(account, key) for key in spent.tokens}
        assert spent.dollars == dollars_of(account, OTHER if name == "researcher-3" else CLAUDE)


def test_transcripts_are_the_bytes_whose_digests_the_record_has(ran: Ran) -> None:
    for name in TEAM:
        files = {one.name: one.read_bytes() for one in ran.study.path.glob(f"worker/transcripts/{name}/*")}
        digests = {one: hashlib.sha256(data).hexdigest() for one, data in files.items()}
        assert digests == ran.study.spent(name).transcripts
        assert len(files) == 1
        assert all(CANARY_KEY.encode() not in data for data in files.values())


def test_a_trace_shows_what_was_said_and_done_and_that_it_is_in_the_record(ran: Ran) -> None:
    (told,) = ran.study.trace("researcher-1")["transcripts"]
    assert told["recorded"]
    assert sum(sum(one.values()) for one in told["calls"]) == ran.accounts["researcher-1"].tokens
    assert told["messages"][0]["text"].startswith("You are researcher-1")
    tools = [call["tool"] for one in told["messages"] for call in one.get("calls", ())]
    assert tools[:2] == ["declare_plan", "read_forum"]
    assert tools[-1] == "finish_task"


def test_a_transcript_that_was_changed_or_removed_is_told(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "study"
    shutil.copytree(ran.study.path, copy, ignore=shutil.ignore_patterns("*.sock", "inspect"))
    (path,) = copy.glob("worker/transcripts/researcher-2/*")
    (other,) = copy.glob("worker/transcripts/researcher-1/*")
    path.write_bytes(other.read_bytes())
    done = ran.study.commands.run("trace", str(copy), "researcher-2", "--text")
    assert done.returncode == 1
    assert "NOT in the record" in done.stdout
    assert f"{path.name}: not the bytes whose digest the record has" in done.stderr
    # Of what the viewer shows, too.
    monkeypatch.setattr(inspect_trace, "view", lambda _folder, **_options: 0)
    options = argparse.Namespace(dir=str(copy), researcher="researcher-2", json=False, text=False, port=7575)
    assert trace(options) == 1
    assert f"{path.name}: not the bytes whose digest the record has" in capsys.readouterr().err
    path.unlink()
    done = ran.study.commands.run("trace", str(copy), "researcher-2", "--text")
    assert done.returncode == 1
    assert f"{path.name}: the record has the digest, and the file is not here" in done.stderr


def test_the_first_request_of_each_has_the_brief_and_every_tool(ran: Ran) -> None:
    for name in TEAM:
        first = next(one for one in ran.requests_of(name) if one.number == 0)
        assert {"bash", "python", "text_editor", "submit_method", "finish_task"} <= set(first.tools)
        assert "next_task" not in first.tools
        assert "## Your task: t" in first.turns[0].text


def test_no_sandbox_and_no_file_of_the_study_holds_the_key(ran: Ran) -> None:
    assert ran.claude.keys | ran.other.keys == {CANARY_KEY}
    for name in TEAM:
        looked = ran.requests_of(name)[-1].results_of("python")[-1]
        assert "and found []" in looked
        assert int(looked.split()[2]) > 100
    holding = [
        str(path)
        for path in ran.study.path.rglob("*")
        if path.is_file() and CANARY_KEY.encode() in path.read_bytes()
    ]
    assert holding == []


def test_a_provider_that_fails_is_waited_for_and_that_is_said(ran: Ran) -> None:
    assert "researcher-2: the provider fails" in ran.study.worker_log()
    assert not any(ran.claude.faults.values())
    assert "Traceback" not in ran.study.worker_log() + ran.study.said


def test_the_whole_study_ran_without_a_network(ran: Ran) -> None:
    """The fixture's own network had loopback and nothing else: nothing was downloaded on first use."""
    if not is_permitted():
        pytest.skip("only root may make a network of its own")
    assert not list(ran.study.path.rglob("*tiktoken*"))


@pytest.mark.parametrize("command", [one for one in COMMANDS if "--dry-run" not in one.command])
def test_a_command_of_the_page_prints_what_the_page_says(ran: Ran, command: Shown) -> None:
    words = [str(ran.study.path) if one == "study" else one for one in command.command.split()[1:]]
    done = ran.study.commands.run(*words)
    assert done.returncode == 0, done.stderr
    command.check(done.stdout)
