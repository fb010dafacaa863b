"""What a spec refuses, and the arguments that come of one that stands."""

from __future__ import annotations

from typing import Any

import pytest

from aar.outside.sandbox.argv import Bind, Handed, Layout, bwrap_options, limited
from aar.outside.sandbox.protocol import format_spec, parse_spec
from aar.outside.sandbox.spec import PROFILES, MalformedSpec, SandboxSpec

LAYOUT = Layout(binds=(Bind("/host/python", "/opt/py/bin/python3"),), hidden_proc=("/proc/keys",))


def spec(**changes: Any) -> SandboxSpec:
    return SandboxSpec(**{"name": "n", "profile": "researcher", "argv": ("true",), **changes})


def options(given: SandboxSpec, **changes: Any) -> list[str]:
    named = {"gateway": None, "nested_userns_off": True, **changes}
    return bwrap_options(given, LAYOUT, Handed([(dest, 9) for dest in given.files], (7, 8)), **named)


@pytest.mark.parametrize(
    "dest",
    [
        "/etc/passwd",
        "/opt/site/numpy/__init__.py",
        "submission/method.py",
        "/submission",
        "/submission/../etc/passwd",
        "/submission/.hidden",
        "/submission//x",
        "/workspace/a\0b",
        "/workspace/a\n",
        "/data/test.jsonl",
    ],
)
def test_a_file_may_enter_only_below_the_directories_for_files(dest: str) -> None:
    with pytest.raises(MalformedSpec, match="destination"):
        spec(files={dest: b""})


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"name": ""},
        {"profile": "root"},
        {"argv": ()},
        {"argv": ("a\0b",)},
        {"argv": ("x" * 70_000,)},
        {"env": {"lower": "x"}},
        {"env": {"A": "x\0y"}},
        {"uid_slot": -1},
        {"memory_mib": 0},
        {"processes": 0},
        {"cpu_s": 0},
        {"wall_s": 0.0},
        {"wall_s": float("nan")},
        {"files": {f"/submission/f{number}": b"" for number in range(65)}},
    ],
)
def test_a_spec_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedSpec):
        spec(**change)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_data_set_with_labels_may_enter_the_bench_alone(profile: str) -> None:
    wire = format_spec(spec(profile="bench", files={"/data/test.jsonl": b""}))
    if profile == "bench":
        assert parse_spec(wire).files == {"/data/test.jsonl": b""}
        return
    with pytest.raises(MalformedSpec, match="'/data/test.jsonl'"):
        parse_spec({**wire, "profile": profile})


def test_a_spec_survives_the_wire_without_its_contents() -> None:
    given = spec(files={"/submission/method.py": b"secret"}, env={"A": "b"}, gateway_dir="/gw", uid_slot=3)
    there = parse_spec(format_spec(given))
    assert there == spec(files={"/submission/method.py": b""}, env={"A": "b"}, gateway_dir="/gw", uid_slot=3)
    assert "secret" not in f"{format_spec(given)}"


def test_a_request_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(MalformedSpec, match="version"):
        parse_spec({**format_spec(spec()), "share_net": True})


def test_every_namespace_is_asked_for_by_name() -> None:
    words = options(spec())
    for kind in ("user", "pid", "net", "ipc", "uts", "cgroup"):
        assert f"--unshare-{kind}" in words
    # These mean "try", and go on without.
    assert not [word for word in words if word.endswith("-try") or word == "--unshare-all"]


def test_the_root_turns_read_only_after_the_last_mount() -> None:
    words = options(spec(files={"/submission/a": b""}), gateway="/host/gw")
    assert words[words.index("--chdir") :] == [
        *["--chdir", "/workspace", "--remount-ro", "/dev", "--remount-ro", "/"],
        *["--add-seccomp-fd", "7", "--add-seccomp-fd", "8"],
    ]


def test_nothing_of_the_host_is_bound_for_writing() -> None:
    words = options(spec(files={"/workspace/a": b""}), gateway="/host/gw")
    assert not {"--bind", "--dev-bind", "--bind-try", "--bind-data"} & set(words)
    at = words.index("/host/gw")
    assert words[at - 1 : at + 2] == ["--ro-bind", "/host/gw", "/run/gw"]


def test_without_a_gateway_there_is_no_gateway_directory() -> None:
    assert "/run/gw" not in options(spec())


def test_file_contents_are_handed_over_by_descriptor_and_read_only_outside_the_workspace() -> None:
    words = options(spec(files={"/submission/a": b"x", "/workspace/b": b"y"}))
    assert words[words.index("/submission/a") - 4 :][:4] == ["--perms", "0444", "--file", "9"]
    assert words[words.index("/workspace/b") - 4 :][:4] == ["--perms", "0644", "--file", "9"]
    # The root that holds the former, and not the latter, is closed when all is in it.
    assert words.index("/submission/a") < len(words) - 1 - words[::-1].index("--remount-ro")


def test_an_old_bubblewrap_is_not_given_options_that_it_lacks() -> None:
    assert "--disable-userns" in options(spec())
    assert "--disable-userns" not in options(spec(), nested_userns_off=False)


def test_the_limits_come_before_the_program() -> None:
    words = limited(spec(argv=("prog", "--nproc=9"), processes=7, memory_mib=100, cpu_s=5))
    assert words[0] == "/usr/bin/prlimit"
    assert words[words.index("--") :] == ["--", "prog", "--nproc=9"]
    assert {"--nproc=7:7", f"--data={100 << 20}:{100 << 20}", "--cpu=5:6", "--core=0:0"} <= set(words)
