"""The doctor: every attack works outside, none inside, and it notices a wall with a hole."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aar.outside.sandbox import answers, ends
from aar.outside.sandbox import doctor as doctors
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.doctor import DoctorReport, doctor
from aar.outside.sandbox.groups import Groups
from aar.outside.sandbox.plants import planted
from aar.outside.sandbox.probes import PROBES
from aar.outside.sandbox.probes.leftovers import TAGS
from aar.outside.sandbox.spec import Exit, SandboxError, SandboxSpec
from aar.outside.sandbox.terminal import terminal_safe
from ordinary_user import NOBODY, python_of_the_distribution, run_as, skip_unless_nobody_reads_us

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def report(backend: None) -> DoctorReport:
    began = time.monotonic()
    report = doctor()
    assert time.monotonic() - began < 10  # 0.8 s on an idle machine
    return report


def test_the_production_sandbox_stops_every_probe(report: DoctorReport) -> None:
    assert [probe for probe in report.probes if probe.fires_within] == []
    assert (report.verdict, report.detail) == ("ok", "")
    assert [probe.name for probe in report.probes] == list(PROBES)


def test_eighty_probes_have_been_seen_to_work_outside_and_the_rest_need_what_is_not_here(
    report: DoctorReport,
) -> None:
    unproven = [probe.name for probe in report.probes if not probe.fires_without]
    assert [name for name in unproven if not PROBES[name].needs] == []
    assert len(report.probes) - len(unproven) >= 80
    if os.geteuid() == 0:
        assert "write-core-pattern" not in unproven


def test_every_probe_says_what_it_does_and_what_stops_it(report: DoctorReport) -> None:
    assert all(probe.says and probe.blocked_by for probe in PROBES.values())
    told = json.loads(json.dumps(dataclasses.asdict(report)))
    assert {"verdict", "backend", "probes", "limits", "attestation"} <= set(told)
    for probe in told["probes"]:
        assert {"name", "area", "fires_without", "fires_within", "blocked_by"} <= set(probe)
    assert {probe["area"] for probe in told["probes"]} == {
        *(
            "labels",
            "test inputs",
            "keys",
            "record",
            "files",
            "our code",
            "other researchers",
            "host processes",
        ),
        *(
            "kernel",
            "namespaces",
            "network",
            "privilege",
            "identity",
            "resources",
            "kill",
            "results",
            "terminal",
        ),
    }


def test_the_attestation_binds_what_was_probed(report: DoctorReport) -> None:
    told = dict(report.attestation)
    digest = told.pop("digest")
    assert digest == hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    assert told["backend"] == "bubblewrap"
    assert told["identity"] == ("uid-per-sandbox" if os.geteuid() == 0 else "own-uid")
    assert told["probes"].split() == [probe.name for probe in report.probes]
    assert doctors.attestation([probe.name for probe in report.probes], report.limits) == report.attestation


def test_a_limit_that_is_softer_is_another_attestation(report: DoctorReport) -> None:
    """As of a machine without control groups, or without an overlay for each sandbox."""
    names, hard = [probe.name for probe in report.probes], dict.fromkeys(report.limits, "hard: all")
    told = doctors.attestation(names, hard)
    softer = doctors.attestation(names, hard | {"memory": "soft: looked at", "file locks": "soft: shared"})
    assert (told["soft_limits"], softer["soft_limits"]) == ("", "file locks, memory")
    assert told["digest"] != softer["digest"]


def test_the_limits_say_which_are_soft(report: DoctorReport) -> None:
    # As an ordinary user there is no overlay, and runtime files are shared.
    soft = {"files on disk"} | ({"file locks"} if os.geteuid() != 0 else set())
    groups = Groups.find()
    if groups is None:
        soft.add("memory")
    else:
        groups.close()
    assert {name for name, text in report.limits.items() if text.startswith("soft")} == soft
    assert all(text.startswith(("hard", "soft")) for text in report.limits.values())


class Careless:
    """A client that hands in a file of its own, as a careless brief would."""

    def __init__(self, client: LauncherClient, content: str) -> None:
        self._client = client
        self._content = content

    def start(self, spec: SandboxSpec, **given: Any) -> Running:
        files = {**spec.files, "/brief/hint.txt": self._content.encode()}
        return self._client.start(dataclasses.replace(spec, files=files), **given)


def test_a_hole_in_the_wall_is_a_leak(client: LauncherClient) -> None:
    with planted(None) as world:
        careless = Careless(client, world["canary"])
        with doctors._start_inside(careless, world) as running:  # type: ignore[arg-type]
            found = doctors._inside(running)
    assert {name for name, (fired, _detail) in found.items() if fired and name in PROBES} == {"search-labels"}
    result = doctors._judged("search-labels", (True, ""), found["search-labels"])
    assert (result.status, result.detail) == ("leak", "/brief/hint.txt")
    assert doctors._verdict([result]) == "leak"


def test_a_probe_that_fires_nowhere_proves_nothing() -> None:
    assert doctors._judged("connect-tcp", (False, "refused"), (False, "refused")).status == "unproven"
    assert doctors._judged("open-vsock", (False, "no such family"), (False, "denied")).status == "absent"
    assert doctors._judged("open-vsock", (False, "no such family"), (True, "open")).status == "leak"
    assert doctors._verdict([doctors._judged("connect-tcp", (False, ""), (False, ""))]) == "unproven"
    assert doctors._verdict([]) == "unproven"


def test_a_sandbox_without_what_a_researcher_needs_is_not_ok(client: LauncherClient) -> None:
    with planted(None) as world:
        (Path(world["gateway"]) / "gw.sock").unlink()
        with doctors._start_inside(client, world) as running, pytest.raises(SandboxError, match="gateway"):
            doctors._inside(running)


def test_a_bomb_that_ends_for_another_reason_is_a_leak() -> None:
    assert doctors._bomb_limit("fork", Exit("processes", -1, 1.0, 1.1)).startswith("hard: ended after 1.1 s")
    assert doctors._bomb_limit("fork", Exit("wall", -1, 60.0, 60.0)).startswith("leak: ")


def test_what_outlives_its_sandbox_is_a_leak_by_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("g")
    left = ends.lazily_ended(folder)
    assert left == set(TAGS)
    found = doctors._ended_within({"kill": left, "exit": {"stopped"}, "launcher": set()})
    assert {name for name, (fired, _detail) in found.items() if not fired} == {"outlive-the-launcher"}


def test_a_sequence_that_did_not_arrive_is_not_called_stopped() -> None:
    found = answers.shown_sequences(b"\0clear-screen:\x1b[2J", terminal_safe)
    assert found["clear-screen"] == (False, "'\\\\x1b[2J'")
    assert found["set-title"] == (True, "it did not arrive")


def test_without_a_backend_there_is_a_line_to_type_and_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "aar.outside.sandbox.backend.missing_backend", lambda: "type `sudo apt-get install bubblewrap`"
    )
    report = doctor()
    assert (report.verdict, report.probes, report.attestation) == ("cannot-run", (), {})
    assert "apt-get" in report.detail


def test_a_study_is_probed_where_it_lies_and_left_as_it_was(backend: None, tmp_path: Path) -> None:
    for name in ("evaluator", "gateway"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "record").mkdir()
    before = sorted(tmp_path.rglob("*"))
    report = doctor(tmp_path)
    assert report.verdict == "ok"
    assert {"mode-of-evaluator", "mode-of-gateway"} < {probe.name for probe in report.probes}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_private_directory_that_is_open_is_a_leak_with_the_line_to_type(tmp_path: Path) -> None:
    (tmp_path / "evaluator").mkdir()
    (tmp_path / "evaluator").chmod(0o755)
    (result,) = doctors._closed_directories(tmp_path)
    assert result.status == "leak"
    assert f"chmod 700 {tmp_path / 'evaluator'}" in result.detail


def test_the_distributions_own_python_and_an_ordinary_user_do_too(backend: None) -> None:
    code = (
        "import json, os; from aar.outside.sandbox.doctor import doctor; r = doctor();"
        "proven = sum(probe.status == 'blocked' for probe in r.probes);"
        "print(json.dumps([r.verdict, r.detail, r.attestation.get('identity'), proven >= 80]))"
    )
    with python_of_the_distribution() as python:
        for uid in [None] if os.geteuid() else [None, NOBODY]:
            if uid is not None:
                skip_unless_nobody_reads_us()
            told = run_as(uid, [python, "-c", code], timeout_s=60)
            assert told.returncode == 0, told.stderr
            own = uid is not None or os.geteuid() != 0
            assert json.loads(told.stdout) == ["ok", "", "own-uid" if own else "uid-per-sandbox", True]


PLANTING = """
import json, sys, time
from aar.outside.sandbox.plants import planted
with planted(None) as world:
    told = {key: world[key] for key in ("planted", "places", "ipc_key", "queue", "victim")}
    sys.stdout.write(json.dumps(told) + chr(10))
    sys.stdout.flush()
    time.sleep(60)
"""


def test_a_doctor_that_is_killed_leaves_no_process_file_memory_or_queue() -> None:
    """Shared memory and queues outlive whoever made them: ten of these were all that a user may have."""
    libc = ctypes.CDLL(None, use_errno=True)
    with subprocess.Popen([sys.executable, "-c", PLANTING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        queue = libc.mq_open(told["queue"].encode(), os.O_RDONLY)
        if queue >= 0:
            os.close(queue)
        assert libc.shmget(told["ipc_key"], 0, 0) >= 0
        process.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{told['victim']}/environ").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert libc.mq_open(told["queue"].encode(), os.O_RDONLY) < 0
    for found in (libc.shmget, libc.msgget):
        arguments = (told["ipc_key"], 0, 0) if found is libc.shmget else (told["ipc_key"], 0)
        assert found(*arguments) < 0
    assert libc.semget(told["ipc_key"], 0, 0) < 0
    left = [told["planted"], *told["places"].values()]
    assert [path for path in left if Path(path).exists()] == []
