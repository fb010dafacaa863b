"""`./check` itself, with stubs in place of the tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A complete set-up whose tools say what they were called with, and fail where FAIL names them."""
    root = tmp_path / "check out"
    programs = root / ".venv" / "bin"
    programs.mkdir(parents=True)
    (root / "tools").mkdir()
    shutil.copy(ROOT / "check", root)
    shutil.copy(ROOT / "tools" / "set-up.sh", root / "tools")
    for lock in ("requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / lock, root)
        shutil.copy(ROOT / lock, root / ".venv")
    for name in ("python", "ruff", "lint-imports"):
        (programs / name).write_text(
            '#!/bin/sh\necho "$(basename "$0") $*"\necho "$*" >>"$(dirname "$0")/called"\n'
            'case "$*" in *pytest*) echo "== 7 passed in 0.01s ==" ;; esac\n'
            'case "$(basename "$0") $*" in ${FAIL:-nothing}) exit 1 ;; esac\n'
        )
        (programs / name).chmod(0o755)
    return root


def run(checkout: Path, *arguments: str, fail: str = "nothing") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "check", *arguments],
        cwd="/",
        env=os.environ | {"FAIL": fail, "CI": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_every_step_runs_from_another_directory_and_pytests_line_is_the_last(checkout: Path) -> None:
    done = run(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "== 7 passed in 0.01s =="
    assert [line.split("  ")[0] for line in lines[-7:-2]] == [
        "format",
        "lint",
        "types",
        "import contracts",
        "tests",
    ]
    assert all(" ok " in line for line in lines[-7:-2])
    assert "python -m mypy --strict src" in lines
    assert "ruff format --check ." in lines


def test_where_no_test_file_was_rewritten_yet_that_is_done_once_beside_the_first_steps(
    checkout: Path,
) -> None:
    called = checkout / ".venv" / "bin" / "called"
    run(checkout)
    deadline = time.monotonic() + 60
    while "--collect-only" not in called.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    called.unlink()
    (checkout / "tests" / "__pycache__").mkdir(parents=True)
    (checkout / "tests" / "__pycache__" / "test_x.cpython-311-pytest-9.0.0.pyc").touch()
    run(checkout)
    assert "--collect-only" not in called.read_text()


@pytest.mark.parametrize("step", ["ruff format*", "ruff check*", "*mypy*", "lint-imports*", "*pytest*"])
def test_one_failed_step_fails_the_check_and_the_others_still_run(checkout: Path, step: str) -> None:
    done = run(checkout, fail=step)
    assert done.returncode == 1
    assert done.stdout.count(" FAILED ") == 1
    assert done.stdout.count(" ok ") == 4


def test_fast_leaves_out_slow_tests_and_other_arguments_go_to_pytest(checkout: Path) -> None:
    assert "-m not deep -k two words\n" in run(checkout, "-k", "two words").stdout
    assert "-m not slow and not deep -x\n" in run(checkout, "--fast", "-x").stdout


def test_deep_adds_its_tests_the_guards_and_the_fuzzer_and_fails_with_them(checkout: Path) -> None:
    done = run(checkout, "--deep", "-x")
    assert "-m deep or not deep -x\n" in done.stdout
    assert "python tools/delete_guards.py" in done.stdout
    assert "python tools/fuzz_formats.py --inputs 1000000" in done.stdout
    assert done.stdout.splitlines()[-1] == "== 7 passed in 0.01s =="
    assert done.stdout.count(" ok ") == 7
    for step in ("*delete_guards*", "*fuzz_formats*"):
        failed = run(checkout, "--deep", fail=step)
        assert (failed.returncode, failed.stdout.count(" FAILED ")) == (1, 1)
    everyday = run(checkout).stdout
    assert "guards" not in everyday
    assert "fuzz" not in everyday
