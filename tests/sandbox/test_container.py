"""The backend container: the same walls by another road, tried for real where a runtime is installed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aar.outside.sandbox import container, container_monitor, seccomp
from aar.outside.sandbox.argv import ENVIRONMENT, Bind, Layout, limited, sandbox_python
from aar.outside.sandbox.choice import missing_backend
from aar.outside.sandbox.client import Launcher, LauncherClient, Output
from aar.outside.sandbox.doctor import doctor
from aar.outside.sandbox.groups import owner
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.spec import SandboxSpec, SandboxUnavailable
from programs import lacking
from small_study import SMALL, Commands

CGROUPS = Path("/sys/fs/cgroup")
LAYOUT = Layout(
    binds=(Bind("/stage/0", "/opt/py/lib"),),
    masks=("/opt/py/lib/site-packages",),
    symlinks=(("usr/lib", "/lib"),),
    hidden_proc=("/proc/keys",),
)


def spec(code: str = "pass", **changes: Any) -> SandboxSpec:
    given = {"name": "box", "profile": "researcher", "memory_mib": 256, "cpu_s": 20, "wall_s": 20.0}
    return SandboxSpec(argv=(*sandbox_python(), "-c", code), **{**given, **changes})


# The bundle: pure, and so tried everywhere.


@pytest.fixture
def config() -> dict[str, Any]:
    return container.oci_config(
        spec(env={"A": "b"}), LAYOUT, gateway="/stage/gw", ids=(7_001, 7_002), group="g"
    )


def test_a_container_has_no_capability_no_new_privilege_and_no_id_of_the_host(config: dict[str, Any]) -> None:
    process = config["process"]
    kinds = {"bounding", "effective", "inheritable", "permitted", "ambient"}
    assert process["capabilities"] == {kind: [] for kind in kinds}
    assert process["noNewPrivileges"] is True
    assert (process["user"]["uid"], process["user"]["gid"]) == (1000, 1000)
    for ids in ("uidMappings", "gidMappings"):
        mapped = {one["containerID"]: (one["hostID"], one["size"]) for one in config["linux"][ids]}
        assert mapped == {0: (7_002, 1), 1000: (7_001, 1)}


def test_each_namespace_of_a_container_is_its_own(config: dict[str, Any]) -> None:
    kinds = {one["type"]: one.get("path") for one in config["linux"]["namespaces"]}
    assert kinds == dict.fromkeys(("user", "pid", "network", "ipc", "uts", "mount", "cgroup"))


def test_what_a_container_sees_of_the_host_is_read_only(config: dict[str, Any]) -> None:
    assert config["root"]["readonly"] is True
    mounts = {one["destination"]: one for one in config["mounts"]}
    binds = {dest: one for dest, one in mounts.items() if one["type"] == "bind"}
    assert {dest: one["source"] for dest, one in binds.items()} == {
        "/opt/py/lib": "/stage/0",
        "/run/gw": "/stage/gw",
    }
    assert all({"ro", "nosuid", "nodev"} <= set(one["options"]) for one in binds.values())
    assert {"ro", "size=4194304"} <= set(mounts["/opt/py/lib/site-packages"]["options"])
    sizes = {"/dev/shm": 64, "/tmp": 64, "/workspace": 128}
    for dest, mib in sizes.items():
        assert {f"size={mib << 20}", "nr_inodes=200000"} <= set(mounts[dest]["options"])
    assert set(mounts) == {*binds, *sizes, "/opt/py/lib/site-packages", "/proc", "/dev"}
    assert config["linux"]["maskedPaths"] == ["/proc/keys"]
    assert config["linux"]["readonlyPaths"] == ["/proc/sys"]


def test_a_container_runs_the_words_of_every_sandbox_behind_its_init(config: dict[str, Any]) -> None:
    words = config["process"]["args"]
    assert words[1:4] == ["-I", "-S", "/.aar/init.py"]
    assert words[4:] == limited(spec())
    assert config["process"]["env"] == [
        f"{name}={value}" for name, value in {**ENVIRONMENT, "A": "b"}.items()
    ]
    # The exact filters are loaded in there, by their bytes: names that a library does not know would be lost.
    assert "seccomp" not in config["linux"]


def test_a_limit_that_the_kernel_does_not_hold_is_named(tmp_path: Path) -> None:
    held = tmp_path / "memory.max"
    held.write_text("4096\n")
    absent = tmp_path / "pids.max"
    assert container_monitor._untrue({str(held): 4096}) == ""
    assert container_monitor._untrue({str(held): 8192}) == f"{held}: 4096, want 8192"
    assert container_monitor._untrue({str(absent): 1}) == f"{absent}: No such file or directory, want 1"


def test_without_a_runtime_the_line_to_type_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SandboxUnavailable, match="apt-get install runc"):
        container.find_runtime()
    assert missing_backend("container") == container.INSTALL


def test_an_ordinary_user_is_told_that_containers_are_root_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "find_runtime", lambda: "/usr/sbin/runc")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing_backend("container") == container.NOT_ROOT


# For real.


@pytest.fixture(scope="module")
def client() -> Iterator[LauncherClient]:
    missing = missing_backend("container")
    if missing == container.INSTALL:
        lacking(missing)
    if missing is not None:
        pytest.skip(missing)
    with Launcher.spawn(backend="container") as launcher:
        yield LauncherClient(launcher.sockets[0])


def run(client: LauncherClient, code: str, **changes: Any) -> Output:
    with client.start(spec(code, **changes), stdin=b"given") as running:
        return running.collect(timeout_s=30)


SEEN = """
import json, os, sys
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(json.dumps({
    'ids': [open(f'/proc/self/{kind}_map').read().split() for kind in ('uid', 'gid')],
    'filters': int(status['Seccomp_filters']), 'caps': status['CapBnd'].strip(),
    'bytes': [open(f'/.aar/{name}.bpf', 'rb').read().hex() for name in ('ceiling', 'main')],
    'pid': os.getpid(), 'given': sys.stdin.read(), 'file': open('/workspace/a/b.txt').read(),
    'env': sorted(os.environ),
}))
open('/workspace/a/b.txt', 'w').write('mine')
sys.exit(7)
"""


@pytest.mark.sandbox
def test_a_program_in_a_container_has_its_own_ids_and_the_filters_of_every_sandbox(
    client: LauncherClient,
) -> None:
    output = run(client, SEEN, files={"/workspace/a/b.txt": b"inside"}, uid_slot=5)
    assert (output.exit.reason, output.exit.code) == ("exited", 7), output.stderr
    told = json.loads(output.stdout)
    machine = platform.machine()
    filters = [seccomp.ceiling_filter(machine).hex(), seccomp.main_filter(machine).hex()]
    assert told["bytes"] == filters
    assert (told["filters"], told["caps"]) == (2, "0" * 16)
    uid, root = slot_uid(5), slot_uid(60_005)
    assert told["ids"] == [["0", str(root), "1", "1000", str(uid), "1"]] * 2
    assert (told["given"], told["file"]) == ("given", "inside")
    assert set(told["env"]) <= {*ENVIRONMENT, "LC_CTYPE"}
    assert told["pid"] > 1


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("import time; time.sleep(60)", {"wall_s": 1.0}, "wall"),
        ("while True: pass", {"cpu_s": 1}, "cpu"),
        ("import os; os.kill(1, 9); os.kill(os.getpid(), 9)", {}, "exited"),
    ],
)
def test_a_container_ends_with_its_typed_reason(
    client: LauncherClient, code: str, limits: dict[str, Any], reason: str
) -> None:
    ended = run(client, code, **limits).exit
    assert (ended.reason, ended.code) == (reason, 137 if reason == "exited" else -1)


HUNGRY = """
import mmap
kept = []
while True:
    kept.append(mmap.mmap(-1, 64 << 20))
    for at in range(0, 64 << 20, 4096): kept[-1][at] = 1
"""


@pytest.mark.sandbox
def test_the_kernel_ends_a_container_at_its_memory_and_that_is_its_reason(client: LauncherClient) -> None:
    # Faster than the launcher looks; shared memory, which no limit of a process counts.
    ended = run(client, HUNGRY, memory_mib=32).exit
    assert ended.reason == "memory"


def left(pid: int) -> dict[str, list[str]]:
    """What containers of that launcher would leave."""
    mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return {
        "groups": [str(path) for path in CGROUPS.glob(f"**/aar-{owner(pid)}-*")],
        "mounts": [line for line in mounts if f"/aar-{owner(pid)}-" in line],
        "states": os.listdir(f"/proc/{pid}/root/sys/block/state"),
        "processes": Path(f"/proc/{pid}/task/{pid}/children").read_text().split(),
    }


@pytest.mark.sandbox
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cycles", [6, pytest.param(500, marks=pytest.mark.deep)])
def test_containers_leave_nothing_however_they_end(client: LauncherClient, cycles: int) -> None:
    launcher = int(subprocess.check_output(["pgrep", "-P", str(os.getpid()), "-f", "backend container"]))
    mounts = len(Path(f"/proc/{launcher}/mountinfo").read_text().splitlines())
    for number in range(cycles):
        with client.start(
            spec("import time; time.sleep(60)" if number % 3 else "pass"), stdin=b""
        ) as running:
            # Some before it has a name, some while it runs, some by themselves.
            if number % 3 == 2:
                time.sleep(0.3)
            if number % 3:
                running.kill()
            assert running.wait(20).reason == ("killed" if number % 3 else "exited")
    until = time.monotonic() + 5
    while time.monotonic() < until and any(left(launcher).values()):
        time.sleep(0.05)
    assert left(launcher) == {"groups": [], "mounts": [], "states": [], "processes": []}
    assert len(Path(f"/proc/{launcher}/mountinfo").read_text().splitlines()) == mounts


@pytest.mark.sandbox
@pytest.mark.deep
@pytest.mark.timeout(300)
def test_every_probe_and_every_bomb_is_stopped_by_a_container(client: LauncherClient) -> None:
    report = doctor(backend="container", bombs=True)
    assert [probe.name for probe in report.probes if probe.fires_within] == []
    assert (report.verdict, report.backend) == ("ok", "container")
    assert all(text.startswith("hard") for name, text in report.limits.items() if name.endswith("bomb"))


@pytest.mark.sandbox
@pytest.mark.deep
@pytest.mark.timeout(300)
def test_a_whole_study_runs_in_containers_and_goes_on_in_no_other_sandbox(
    client: LauncherClient, tmp_path: Path
) -> None:
    commands = Commands(tmp_path)
    path = str(tmp_path / "study")
    done = commands.run(
        "run", commands.study_file(f'{SMALL}\n[sandbox]\nbackend = "container"\n'), "--dir", path
    )
    assert done.returncode == 0, done.stderr
    entries = commands.entries(path)
    assert entries[0]["body"]["sandbox"]["backend"] == "container"
    assert [entry for entry in entries if entry["kind"] == "score-receipt"]
    other = commands.run("run", "--dir", path, "--backend", "bubblewrap")
    assert other.returncode == 2
    assert "goes on with that one only, not with bubblewrap" in other.stderr
