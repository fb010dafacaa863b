"""The lab for itself: it needs numpy, scikit-learn and PyNaCl, and nothing of the rest of this program."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "packaging" / "lab"
# With what numpy, scikit-learn and PyNaCl bring along.
BROUGHT = (
    "numpy",
    "scipy",
    "sklearn",
    "joblib",
    "threadpoolctl",
    "nacl",
    "cffi",
    "_cffi_backend",
    "pycparser",
)

IMPORT_ALL = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED | {"aar"} | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"the lab asked for {name}", name=name)

sys.meta_path.insert(0, Refuse())
import aar.lab
names = [one.name for one in pkgutil.walk_packages(aar.lab.__path__, "aar.lab.")]
for name in names:
    importlib.import_module(name)
from aar.lab.pipeline import VANILLA, parse_pipeline_text
from aar.lab.problems.registry import problem_named
from aar.lab.runs import run_experiment
result = run_experiment(problem_named("overlap"), parse_pipeline_text(VANILLA), [1, 2])
assert result.interval[0] < result.pgr < result.interval[1]
print(len(names), "modules", sorted(name for name in ("aar.cli", "aar.outside") if name in sys.modules))
"""


def included() -> dict[str, str]:
    """What the distribution takes from where, both as paths."""
    told = tomllib.loads((PACKAGED / "pyproject.toml").read_text("utf-8"))
    files: dict[str, str] = told["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    return files


def test_all_modules_of_the_lab_import_and_run_without_the_rest(tmp_path: Path) -> None:
    for source, target in included().items():
        path, copy = PACKAGED / source, tmp_path / target
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copy(path, copy)
    code = f"ALLOWED = {set(BROUGHT)!r}\n{IMPORT_ALL}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("modules []\n")


def test_the_distribution_wants_what_the_program_wants_of_the_same_packages() -> None:
    whole, alone = (
        tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))["project"]
        for directory in (ROOT, PACKAGED)
    )
    assert set(alone["dependencies"]) <= set(whole["dependencies"])
    assert (alone["version"], alone["requires-python"]) == (whole["version"], whole["requires-python"])
