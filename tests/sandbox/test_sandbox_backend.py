"""Under which uid sandboxes run, and what to type where they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aar.outside.sandbox import backend
from aar.outside.sandbox.argv import Bind, Layout
from aar.outside.sandbox.identity import slot_uid, uid_for
from aar.outside.sandbox.runtime import MAY_ENTER_SANDBOX, directories_of, layout_for, moved
from aar.outside.sandbox.spec import PROFILES, SandboxUnavailable

WHOLE = [(0, 0, 4_294_967_295)]


def test_root_of_the_whole_machine_gives_each_slot_an_id_far_from_accounts() -> None:
    assert uid_for(0, WHOLE, WHOLE) == 1_900_001_000
    assert uid_for(7, WHOLE, WHOLE) == 1_900_001_007


def test_root_of_a_container_takes_ids_from_the_far_end_of_its_range() -> None:
    rootless = [(0, 1000, 1), (1, 100_000, 65_536)]
    assert uid_for(0, rootless, rootless) == 65_536
    assert uid_for(2, rootless, rootless) == 65_534


def test_a_mapped_ordinary_user_who_looks_like_root_keeps_its_own_id() -> None:
    assert uid_for(0, [(0, 1000, 1)], [(0, 1000, 1)]) is None


def test_the_hosts_root_with_no_other_id_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="uid_map"):
        uid_for(0, [(0, 0, 1)], [(0, 0, 1)])


def test_an_ordinary_user_has_one_identity() -> None:
    if os.geteuid() == 0:
        pytest.skip("running as root")
    assert slot_uid(3) is None


@pytest.mark.parametrize(
    ("message", "settings", "typed"),
    [
        ("bwrap: setting up uid map: Permission denied", {}, "apparmor_parser"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", {}, "apparmor_parser"),
        ("", {"kernel.apparmor_restrict_unprivileged_userns": "1"}, "apparmor_parser"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", {}, "systempaths=unconfined"),
        ("bwrap: Creating new namespace failed: Operation not permitted", {}, "seccomp=unconfined"),
        (
            "bwrap: No permissions to create new namespace",
            {"kernel.unprivileged_userns_clone": "0"},
            "sysctl -w",
        ),
        (
            "bwrap: Creating new namespace failed: nesting depth",
            {"user.max_user_namespaces": "0"},
            "sysctl -w",
        ),
        ("bwrap: something new", {}, "something new"),
    ],
)
def test_each_complaint_of_bubblewrap_comes_with_the_line_to_type(
    message: str, settings: dict[str, str], typed: str
) -> None:
    line = backend.remedy(message, settings)
    assert typed in line
    assert "\n" not in line


def test_a_missing_bubblewrap_is_said_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert backend.missing_backend() == backend.INSTALL


def test_a_bubblewrap_that_lacks_an_option_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho usage: --args --perms\n")
    old.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda *_, **__: str(old))
    with pytest.raises(SandboxUnavailable, match="--add-seccomp-fd"):
        backend.find_bubblewrap()


def test_only_the_bench_may_hold_scikit_learn_and_its_digits() -> None:
    assert {profile for profile in PROFILES if "sklearn" in MAY_ENTER_SANDBOX[profile]} == {"bench"}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_only_the_bench_may_hold_problems_and_their_data(profile: str) -> None:
    hidden = {"/opt/aar/aar/lab/problems", "/opt/aar/aar/lab/data"}
    assert hidden & set(layout_for(profile).masks) == (set() if profile == "bench" else hidden)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_bench_sees_all_that_any_other_profile_does(profile: str) -> None:
    assert {bind.source for bind in layout_for(profile).binds} <= {
        bind.source for bind in layout_for("bench").binds
    }


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_no_profile_sees_our_outside_or_whole_trees_of_the_host(profile: str) -> None:
    layout = layout_for(profile)
    assert not [
        bind for bind in layout.binds if "/outside" in bind.source or bind.source.endswith("site-packages")
    ]
    # Distribution packages, local software and its data stay where they are.
    for tree in ("/", "/usr", "/usr/lib", "/usr/share", "/usr/local", "/usr/lib/python3", "/etc"):
        assert tree not in {bind.source for bind in layout.binds}
    assert len({bind.dest for bind in layout.binds}) == len(layout.binds)


def test_a_directory_within_another_is_seen_through_that(tmp_path: Path) -> None:
    for name in ("site/numpy", "site/numpy-more", "lib"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "site" / "one.so").touch()
    sources = [f"{tmp_path}/{name}" for name in ("site/numpy", "site/numpy-more", "lib", "site/one.so")]
    layout = Layout(binds=tuple(Bind(source, f"/opt/{at}") for at, source in enumerate(sources)))
    assert directories_of(layout) == [f"{tmp_path}/lib", f"{tmp_path}/site"]
    places = {f"{tmp_path}/lib": "/stage/0", f"{tmp_path}/site": "/stage/1"}
    assert [bind.source for bind in moved(layout, places).binds] == [
        *("/stage/1/numpy", "/stage/1/numpy-more", "/stage/0", "/stage/1/one.so")
    ]
    # Without the one that holds them, each needs a place of its own.
    assert directories_of(Layout(binds=layout.binds[:3])) == sources[:3]


def test_what_is_mounted_there_from_elsewhere_keeps_a_place_of_its_own() -> None:
    if os.stat("/dev").st_dev == os.stat("/dev/shm").st_dev:
        pytest.skip("/dev/shm is no mount here")
    layout = Layout(binds=(Bind("/dev", "/opt/a"), Bind("/dev/shm", "/opt/b")))
    assert directories_of(layout) == ["/dev", "/dev/shm"]
