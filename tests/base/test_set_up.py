"""The launcher's first use, in a scratch checkout with a lock file of one small wheel: no network."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = """
import json, os, sys
import aar_test_wheel
print(json.dumps({"arguments": sys.argv[1:], "wheel": aar_test_wheel.VERSION,
                  "bytecode": "PYTHONDONTWRITEBYTECODE" not in os.environ, "cwd": os.getcwd()}))
"""


class Checkout:
    """A copy of the launcher with a stub of the program and its own tools on PATH."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "check out"  # a path with a space in it
        self.wheels = directory / "wheels"
        self.tools = directory / "tools"
        for path in (self.root / "tools", self.root / "src" / "aar", self.wheels, self.tools):
            path.mkdir(parents=True)
        shutil.copy(ROOT / "aar", self.root)
        shutil.copy(ROOT / "tools" / "set-up.sh", self.root / "tools")
        (self.root / "src" / "aar" / "__init__.py").write_text('"""Stub."""\n')
        (self.root / "src" / "aar" / "__main__.py").write_text(STUB)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_FIND_LINKS": str(self.wheels),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.lock("1.0")

    def lock(self, version: str, digest: str | None = None) -> None:
        """Make the wheel of that version and a lock file that wants it."""
        wheel = self.wheels / f"aar_test_wheel-{version}-py3-none-any.whl"
        info = f"aar_test_wheel-{version}.dist-info"
        files = {
            "aar_test_wheel.py": f"VERSION = {version!r}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: aar-test-wheel\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        rows = [f"{name},sha256={_record_digest(text)},{len(text)}" for name, text in files.items()]
        rows.append(f"{info}/RECORD,,")
        files[f"{info}/RECORD"] = "\n".join(rows) + "\n"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
        (self.root / "requirements.lock").write_text(f"aar-test-wheel=={version} --hash=sha256:{digest}\n")

    def tool(self, name: str, script: str) -> None:
        """A program that is found before the system's own."""
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)
        if not self.environment["PATH"].startswith(str(self.tools)):
            self.environment["PATH"] = f"{self.tools}:{self.environment['PATH']}"

    def only_tools(self, *names: str) -> None:
        """Leave nothing on PATH but these programs of the system and the ones made with `tool`."""
        for name in names:
            found = shutil.which(name)
            if found is not None:
                (self.tools / name).symlink_to(found)
        self.environment["PATH"] = str(self.tools)

    def start(
        self, *arguments: str, program: Path | str | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [program or self.root / "aar", *arguments],
            env=self.environment,
            cwd=cwd or self.root.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: str, program: Path | str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, program=program, cwd=cwd)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def _record_digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that within a minute"
        time.sleep(0.01)


@pytest.mark.parametrize("script", ["aar", "check", "tools/set-up.sh", "tools/lock.sh"])
def test_a_shell_script_parses(script: str) -> None:
    subprocess.run(["sh", "-n", ROOT / script], check=True)


def test_ci_runs_check_and_nothing_else() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if not line.startswith("#")]
    assert commands == ['exec "$(dirname -- "${BASH_SOURCE[0]}")/../check"']


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, subprocess.CompletedProcess[str]]:
    """A checkout that was used once, and what that said."""
    checkout = Checkout(tmp_path_factory.mktemp("used"))
    return checkout, checkout.run("verify", "a b", "*")


def test_first_use_sets_up_and_later_uses_from_anywhere_say_nothing(
    used: tuple[Checkout, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    checkout, first = used
    assert first.returncode == 0, first.stderr
    assert '"arguments": ["verify", "a b", "*"], "wheel": "1.0", "bytecode": true' in first.stdout
    assert first.stdout.count("\n") == 1
    assert first.stderr.startswith("aar: setting up ")
    assert list((checkout.root / "src/aar/__pycache__").glob("__main__*.pyc"))

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aar").symlink_to("../link")
    (tmp_path / "link").symlink_to(checkout.root / "aar")
    checkout.environment["PATH"] += f":{tmp_path / 'bin'}"
    for program, cwd in (("aar", Path("/")), (tmp_path / "link", Path("/")), ("./aar", checkout.root)):
        later = checkout.run("verify", program=program, cwd=cwd)
        assert (later.returncode, later.stderr) == (0, ""), program
        assert f'"cwd": "{cwd}"' in later.stdout

    # A package in the current directory is not taken for one of ours.
    (tmp_path / "aar_test_wheel.py").write_text("raise SystemExit('taken from the current directory')")
    assert checkout.run("verify", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_two_first_uses_at_once_share_one_set_up(checkout: Checkout) -> None:
    both = [checkout.start(), checkout.start()]
    said = []
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert '"wheel": "1.0"' in out
        said.append(err)
    assert sum("aar: setting up" in err for err in said) == 1
    assert sum("another process is setting up" in err for err in said) == 1


@pytest.mark.slow
def test_a_set_up_that_was_killed_is_redone(checkout: Checkout) -> None:
    first = checkout.start()
    _wait_for((checkout.root / ".venv/bin/python").exists)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (checkout.root / ".venv/requirements.lock").exists()
    again = checkout.run()
    assert '"wheel": "1.0"' in again.stdout, again.stderr
    assert "setting up" in again.stderr


@pytest.mark.slow
def test_a_changed_lock_file_is_installed_and_a_wrong_hash_is_not(
    used: tuple[Checkout, subprocess.CompletedProcess[str]],
) -> None:
    checkout, first = used
    assert first.returncode == 0, first.stderr
    checkout.lock("1.1", digest="0" * 64)
    refused = checkout.run()
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "cannot install requirements.lock" in refused.stderr
    checkout.lock("1.1")
    assert '"wheel": "1.1"' in checkout.run().stdout


@pytest.mark.parametrize(
    ("words", "is_wanted"),
    [
        (["run", "--model", "a/b"], True),
        (["run", "--dir", "d", "--model=a/b"], True),
        (["run", "with.toml"], True),
        (["run", "--dir", "study"], True),
        (["trace", "study", "researcher-1"], True),
        (["run", "without.toml"], False),
        (["run", "absent.toml"], False),
        (["run"], False),
        (["verify", "study"], False),
    ],
)
def test_what_models_want_is_installed_once_and_for_whoever_names_one(
    checkout: Checkout, words: list[str], is_wanted: bool
) -> None:
    _fake_environment(checkout)
    checkout.tool("bwrap", "")
    (checkout.root / "requirements-llm.lock").write_text("inspect\n")
    here = checkout.root.parent
    (here / "study").mkdir()
    for name, text in (("with", ' model = "a/b"\n'), ("without", '# model = "a/b"\n')):
        (here / f"{name}.toml").write_text("[[researcher]]\n" + text)
    shutil.copy(here / "with.toml", here / "study" / "study.toml")
    told = checkout.run(*words)
    assert (told.returncode, told.stdout) == (0, f"-P -m aar {' '.join(words)}\n"), told.stderr
    assert ("-m pip install" in told.stderr) == is_wanted
    assert ("/requirements-llm.lock" in told.stderr) == is_wanted
    assert checkout.run(*words).stderr == ""


def test_without_bubblewrap_a_user_is_told_the_line_to_type(checkout: Checkout) -> None:
    _fake_environment(checkout)
    checkout.tool("id", "echo 1000")
    checkout.tool("apt-get", "exit 1")
    checkout.only_tools("sh", "cmp", "readlink")
    refused = checkout.run("run")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr == (
        "aar: bubblewrap (bwrap) is missing, and no study runs without a sandbox; "
        "type: sudo apt-get install -y bubblewrap\n"
    )
    assert checkout.run("review", "DIR", "publish", "3").returncode == 3
    assert checkout.run("verify", "DIR").stdout == "-P -m aar verify DIR\n"
    assert checkout.run("review", "DIR", "list").returncode == 0


def test_without_bubblewrap_root_gets_it_installed_and_is_told(checkout: Checkout) -> None:
    _fake_environment(checkout)
    checkout.tool("id", "echo 0")
    # As in a fresh image: nothing can be installed before the lists were fetched.
    checkout.tool(
        "apt-get",
        f'echo "apt $*"; case $1 in update) : >"{checkout.tools}/lists" ;; '
        f'install) [ -e "{checkout.tools}/lists" ] && printf "#!/bin/sh\\n" >"{checkout.tools}/bwrap" '
        f'&& chmod +x "{checkout.tools}/bwrap" ;; esac',
    )
    checkout.only_tools("sh", "cmp", "readlink", "chmod")
    told = checkout.run("run")
    assert (told.returncode, told.stdout) == (0, "-P -m aar run\n")
    assert "bubblewrap (bwrap) is missing" in told.stderr
    assert told.stderr.count("apt install") == 2
    assert checkout.run("run").stderr == ""


@pytest.mark.parametrize(
    ("version_ok", "venv_ok", "line"),
    [
        (False, False, "there is no Python >= 3.11 here; type: sudo apt-get install -y python3 python3-venv"),
        (
            True,
            False,
            "python3 cannot make virtual environments; type: sudo apt-get install -y python3-venv",
        ),
    ],
)
def test_a_python_that_will_not_do_is_explained(
    checkout: Checkout, version_ok: bool, venv_ok: bool, line: str
) -> None:
    checkout.tool(
        "python3",
        f"case $2 in *version_info*) exit {int(not version_ok)} ;; *) exit {int(not venv_ok)} ;; esac",
    )
    checkout.tool("id", "echo 1000")
    checkout.tool("apt-get", "exit 1")
    checkout.only_tools("sh", "cmp", "readlink", "flock")
    refused = checkout.run("verify")
    assert (refused.returncode, refused.stdout, refused.stderr) == (3, "", f"aar: {line}\n")


def test_the_launcher_adds_little(checkout: Checkout, record_property: pytest.RecordProperty) -> None:
    _fake_environment(checkout)
    python = checkout.root / ".venv/bin/python"

    def best_s(program: Path) -> float:
        times = []
        for _ in range(15):
            began = time.perf_counter()
            subprocess.run([program], env=checkout.environment, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - began)
        return min(times)

    added_ms = (best_s(checkout.root / "aar") - best_s(python)) * 1000
    record_property("launcher_added_ms", round(added_ms, 1))
    print(f"the launcher adds {added_ms:.1f} ms")
    # Promised are 50 ms; a busy machine is not this test's business, a launcher that installs each time is.
    assert added_ms < 500


def _fake_environment(checkout: Checkout) -> None:
    """A complete set-up whose Python only says what it was called with."""
    (checkout.root / ".venv/bin").mkdir(parents=True)
    (checkout.root / ".venv/bin/python").write_text('#!/bin/sh\necho "$*"\n')
    (checkout.root / ".venv/bin/python").chmod(0o755)
    shutil.copy(checkout.root / "requirements.lock", checkout.root / ".venv/requirements.lock")
