"""The fleet on real sandboxes: who dies is started again, and what a researcher says at its end is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aar.inside import researcher
from aar.outside import fleet
from aar.outside.fleet import LAST_WORDS_BYTES, MAX_STARTS, Fleet
from aar.outside.sandbox.client import Launcher, LauncherClient, Running

pytestmark = [pytest.mark.sandbox]


@pytest.fixture
def launcher() -> Iterator[LauncherClient]:
    with Launcher.spawn() as one:
        yield LauncherClient(one.sockets[0])


@pytest.fixture
def in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From now on a line of Python stands in the researcher's place."""

    def put(line: str) -> None:
        os.chmod(tmp_path, 0o755)
        real = fleet.sandbox_python
        monkeypatch.setattr(fleet, "sandbox_python", lambda: (*real(), "-c", line, "--"))

    return put


def watched(one: Fleet) -> list[str]:
    """The names of who was given up until it was over."""
    named = []
    deadline = time.monotonic() + 30
    while not one.is_over:
        assert time.monotonic() < deadline, one.members[0].state
        named += one.watch()
        time.sleep(0.01)
    return named


@pytest.fixture
def run(launcher: LauncherClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Fleet]:
    """A fleet of one whose researcher is a line of Python instead, watched to its end."""

    def start(line: str) -> Fleet:
        gateway = tmp_path / "gw"
        gateway.mkdir(exist_ok=True)
        os.chmod(gateway, 0o755)
        real = fleet.sandbox_python
        monkeypatch.setattr(fleet, "sandbox_python", lambda: (*real(), "-c", line, "--"))
        one = Fleet(launcher, ["researcher-1"], {"researcher-1": gateway}, "aar.test/fleet", log=tmp_path)
        one.start()
        deadline = time.monotonic() + 30
        while not one.is_over:
            assert time.monotonic() < deadline, one.members[0].state
            one.watch()
            time.sleep(0.01)
        return one

    return start


def test_both_sides_mean_the_same_by_the_exit_status_of_a_record_that_misbehaved() -> None:
    assert fleet.EXIT_MISBEHAVED == researcher.EXIT_MISBEHAVED


def test_a_researcher_that_ends_well_is_finished_and_leaves_no_file(
    run: Callable[[str], Fleet], tmp_path: Path
) -> None:
    member = run("import sys; sys.stderr.write('all is well')").members[0]
    assert (member.state, member.starts) == ("finished", 1)
    assert list(tmp_path.glob("*.stderr")) == []


def test_evidence_against_the_record_is_kept_and_its_finder_is_not_started_again(
    run: Callable[[str], Fleet], tmp_path: Path
) -> None:
    member = run("import sys; sys.stderr.write('two roots for size 7'); sys.exit(5)").members[0]
    path = tmp_path / "researcher-1.1.stderr"
    assert member.state == f"stopped: says the record misbehaved, evidence in {path}"
    assert path.read_text() == "two roots for size 7"
    assert member.starts == 1


def test_a_researcher_that_dies_is_started_again_and_not_for_ever(
    run: Callable[[str], Fleet], tmp_path: Path
) -> None:
    member = run("import sys; sys.exit('no idea')").members[0]
    assert (member.state, member.starts) == ("failed (exited 1)", MAX_STARTS)
    assert len(list(tmp_path.glob("researcher-1.*.stderr"))) == MAX_STARTS


def test_a_researcher_that_writes_and_writes_is_not_stopped_by_a_full_pipe_nor_kept_whole(
    run: Callable[[str], Fleet], tmp_path: Path
) -> None:
    line = "import sys; sys.stdout.write('o' * 500_000); sys.stderr.write('e' * 500_000 + 'end'); sys.exit(5)"
    run(line)
    kept = (tmp_path / "researcher-1.1.stderr").read_bytes()
    assert len(kept) == LAST_WORDS_BYTES
    assert kept.endswith(b"eend")


def test_whoever_is_given_up_is_named_once(launcher: LauncherClient, tmp_path: Path, in_place: Any) -> None:
    in_place("import sys; sys.exit(5)")
    one = Fleet(launcher, ["researcher-1"], {"researcher-1": tmp_path}, "aar.test/fleet", log=tmp_path)
    one.start()
    named = watched(one)
    assert named == ["researcher-1"]
    assert one.watch() == []


def test_who_found_nothing_to_do_is_woken_for_a_task_that_is_new(
    launcher: LauncherClient, tmp_path: Path, in_place: Any
) -> None:
    in_place("pass")
    one = Fleet(launcher, ["researcher-1"], {"researcher-1": tmp_path}, "aar.test/fleet", log=tmp_path)
    one.wake({("t1", 0)})
    one.start()
    watched(one)
    one.wake({("t1", 0)})
    assert one.is_over
    one.wake({("t1", 1)})
    assert not one.is_over
    watched(one)
    assert (one.members[0].state, one.members[0].starts) == ("finished", 1)


def test_who_is_held_is_ended_and_starts_again_when_it_is_let_go(
    launcher: LauncherClient, tmp_path: Path, in_place: Any
) -> None:
    in_place("import time; time.sleep(60)")
    names = ["researcher-1", "researcher-2"]
    one = Fleet(launcher, names, dict.fromkeys(names, tmp_path), "aar.test/fleet", log=tmp_path)
    one.start(["researcher-2"])
    first, second = one.members
    assert (first.state, second.state, second.running) == ("running", fleet.HELD, None)
    one.hold(names)
    assert one.is_over
    one.wake({("t1", 0)})
    assert one.watch() == []
    assert (first.state, second.state) == (fleet.HELD, fleet.HELD)
    one.hold(["researcher-2"])
    assert (first.state, second.state) == ("running", fleet.HELD)
    one.stop()


def test_who_was_given_up_is_not_started_by_being_let_go(
    launcher: LauncherClient, tmp_path: Path, in_place: Any
) -> None:
    in_place("import sys; sys.exit(5)")
    one = Fleet(launcher, ["researcher-1"], {"researcher-1": tmp_path}, "aar.test/fleet", log=tmp_path)
    one.start()
    watched(one)
    one.hold(["researcher-1"])
    one.hold([])
    assert one.is_over
    assert one.members[0].state.startswith("stopped: says the record misbehaved")


def test_who_runs_elsewhere_is_no_member_and_keeps_its_slot(launcher: LauncherClient, tmp_path: Path) -> None:
    names = ["researcher-1", "researcher-2", "researcher-3"]
    sockets = dict.fromkeys(names, tmp_path)
    one = Fleet(launcher, names, sockets, "aar.test/fleet", log=tmp_path, elsewhere=names[:1])
    assert [(member.name, member.slot) for member in one.members] == [
        ("researcher-2", 1),
        ("researcher-3", 2),
    ]


def test_a_stopped_fleet_is_over(launcher: LauncherClient, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    one = Fleet(launcher, ["researcher-1"], {"researcher-1": tmp_path}, "aar.test/fleet", log=tmp_path)
    one.start()
    assert isinstance(one.members[0].running, Running)
    one.stop()
    assert one.is_over
    assert one.members[0].state == "stopped"


PROGRAM = b"""
import sys

sys.stderr.write(f"{sys.argv[1:]} {__file__} {open(__file__).read()[:12]!r}")
"""


def test_a_program_of_the_users_runs_in_the_sandbox_with_its_seed_and_what_it_says_is_kept(
    launcher: LauncherClient, tmp_path: Path
) -> None:
    os.chmod(tmp_path, 0o755)
    gateway = tmp_path / "gw"
    gateway.mkdir()
    os.chmod(gateway, 0o755)
    for _life in range(2):
        one = Fleet(
            launcher,
            ["researcher-1"],
            {"researcher-1": gateway},
            "aar.test/fleet",
            log=tmp_path,
            programs={"researcher-1": PROGRAM},
            seeds={"researcher-1": 42},
        )
        one.start()
        deadline = time.monotonic() + 30
        while not one.is_over:
            assert time.monotonic() < deadline, one.members[0].state
            one.watch()
            time.sleep(0.01)
        assert one.members[0].state == "finished"
    said = "['--seed', '42'] /brief/researcher.py '\\nimport sys\\n'"
    assert (tmp_path / "researcher-1.1.stderr").read_text() == said * 2


def test_with_a_seed_of_its_own_a_fleet_chooses_alike_whatever_the_origin_of_its_log(
    launcher: LauncherClient, in_place: Callable[[str], None], tmp_path: Path
) -> None:
    in_place("import sys; sys.stderr.write(sys.argv[-1]); sys.exit(5)")
    gateway = tmp_path / "gw"
    gateway.mkdir()
    gateway.chmod(0o755)
    said = {}
    for origin, seed in (("aar.test/a", "s"), ("aar.test/b", "s"), ("aar.test/a", ""), ("aar.test/b", "")):
        one = Fleet(launcher, ["researcher-1"], {"researcher-1": gateway}, origin, log=tmp_path, seed=seed)
        one.start()
        watched(one)
        said[origin, seed] = (tmp_path / "researcher-1.1.stderr").read_text("utf-8")
    assert said["aar.test/a", "s"] == said["aar.test/b", "s"]
    assert len(set(said.values())) == 3
