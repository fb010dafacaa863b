"""Without the extra: an environment of requirements.lock alone imports the rest of us and runs a study."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

from small_study import SOURCE, TINY, Commands

ROOT = SOURCE.parent
ADAPTERS = ("aar.llm.inspect_", "aar.llm.mcp_")


def names_in(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / lock).read_text("utf-8"), re.MULTILINE))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that finds the packages of requirements.lock, linked from where this one has them."""
    place = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(place, with_pip=False)
    site = place / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for name in names_in("requirements.lock"):
        try:
            files = distribution(name).files or []
        except ModuleNotFoundError:  # of another platform
            continue
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(distribution(name).locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return place / "bin" / "python"


def run(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": str(python.parents[1])}
    return subprocess.run(
        [python, "-P", *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_none_of_what_the_extra_brings_is_there(python: Path) -> None:
    extra = names_in("requirements-llm.lock") - names_in("requirements.lock")
    assert {"inspect-ai", "anthropic", "openai", "mcp", "pydantic", "anyio"} <= extra
    normal = re.compile("[-_.]+")
    modules = sorted(
        module
        for module, owners in packages_distributions().items()
        if any(normal.sub("-", one).lower() in extra for one in owners)
    )
    assert "inspect_ai" in modules
    code = "import sys, importlib.util; print([one for one in sys.argv[1:] if importlib.util.find_spec(one)])"
    assert run(python, "-c", code, *modules).stdout.strip() == "[]"


def test_every_other_module_is_imported(python: Path) -> None:
    modules = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((SOURCE / "aar").rglob("*.py"))
        if "students" not in path.parts and path.name != "__main__.py"
    ]
    wanted = [one for one in modules if not one.startswith(ADAPTERS)]
    assert "aar.llm.worker" in wanted
    done = run(
        python, "-c", "import sys, importlib; [importlib.import_module(one) for one in sys.argv[1:]]", *wanted
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_study_runs_to_its_end(python: Path, tmp_path: Path) -> None:
    study = Commands(tmp_path).study_file(TINY)
    config = f"XDG_CONFIG_HOME={tmp_path / 'config'}"
    code = (
        "import os, runpy, sys; name, _, value = sys.argv.pop(1).partition('='); os.environ[name] = value; "
    )
    code += "runpy.run_module('aar', run_name='__main__', alter_sys=True)"
    done = run(python, "-c", code, config, "run", study, "--dir", str(tmp_path / "study"), "--json")
    assert done.returncode == 0, done.stderr
    assert '"verdict": "ok"' in done.stdout


def test_a_model_wants_the_extra_and_says_how_to_get_it(python: Path, tmp_path: Path) -> None:
    model = ("--model", "anthropic/claude-sonnet-4-5")
    done = run(python, "-m", "aar", "run", "--dir", str(tmp_path / "study"), *model)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "aar[llm]" in done.stderr
    assert not (tmp_path / "study").exists()
