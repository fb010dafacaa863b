"""The verifier in a wheel of its own: built here, installed without the network, run with PyNaCl alone."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nacl
import pytest

from forge import honest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "verifier_wheel.py"))


@pytest.fixture(scope="module")
def installed(tool: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip put it; pip checks the list of hashes."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = tool["build"](folder)
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*pip, "--target", str(folder / "site"), str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def crypto(folder: Path) -> Path:
    """PyNaCl and what it needs, and none of the other packages that are installed here."""
    packages = Path(nacl.__file__).parents[1]
    folder.mkdir()
    for one in ("nacl", "cffi", "pycparser"):
        if (packages / one).exists():
            (folder / one).symlink_to(packages / one)
    for one in packages.glob("_cffi_backend*"):
        (folder / one.name).symlink_to(one)
    return folder


def verify(site: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths, words = [str(site), str(crypto(tmp_path / "crypto"))], ["aar-verify", *arguments]
    code = (
        f"import sys, runpy; sys.path[:0] = {paths!r}; sys.argv = {words!r}; "
        "runpy.run_module('aar.verify', run_name='__main__')"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_same_sources_give_the_same_wheel(tool: dict[str, Any], tmp_path: Path) -> None:
    one, two = tool["build"](tmp_path / "one"), tool["build"](tmp_path / "two")
    assert one.name.startswith("aar_verify-")
    assert one.read_bytes() == two.read_bytes()


def test_the_wheel_holds_the_verifier_and_nothing_above_it(installed: Path) -> None:
    packages = {one.name for one in (installed / "aar").iterdir() if one.name != "__pycache__"}
    assert packages == {"__init__.py", "py.typed", "formats", "verify"}
    sources = {one.name for one in (ROOT / "src" / "aar" / "verify").glob("*.py")}
    assert {one.name for one in (installed / "aar" / "verify").glob("*.py")} == sources
    assert (installed / "bin" / "aar-verify").is_file()


def test_the_installed_verifier_judges_a_study_with_pynacl_alone(installed: Path, tmp_path: Path) -> None:
    study = honest().write(tmp_path / "study")
    done = verify(installed, tmp_path, str(study), "--policy", str(study / "policy"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["verdict"], report["anchored_up_to"]) == ("ok", report["tree_size"])


def test_its_dependency_is_the_project_s(installed: Path) -> None:
    (about,) = installed.glob("aar_verify-*.dist-info")
    lines = (about / "METADATA").read_text("utf-8").splitlines()
    assert [one for one in lines if one.startswith("Requires-Dist")] == ["Requires-Dist: pynacl>=1.5"]
