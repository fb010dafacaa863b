"""Deletes each guard of the verifier in turn, in a copy, and asks the tests to notice: lists what they miss.

    .venv/bin/python tools/delete_guards.py [--jobs N] [--list] [--verbose] [FILE...]

A guard is a statement that is a `raise`, a `yield` of a pair, or a call of `self._add`, `self._missing`,
`report.add`, `self._report.add`, `check_...` or `self._check_...`. FILE is a name in src/aar/verify (default:
all but merkle.py). Slow: one run of tests/verify for each guard, so it is no part of ./check. Exit status 1
when a guard survives.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERIFY = Path("src/aar/verify")
ADDING = {"add", "_add", "_missing"}
TIMEOUT_S = 300

# The tests that most likely notice, first: with -x a run ends at the first that does.
FIRST = {
    "claims.py": "test_claims.py",
    "decisions.py": "test_claims.py",
    "interval.py": "test_interval.py",
    "log_check.py": "test_log_check.py",
    "payload.py": "test_payload.py",
    "pgr.py": "test_pgr.py",
    "reader.py": "test_reader.py",
    "report.py": "test_report.py",
    "splits.py": "test_splits.py",
    "study.py": "test_entry_check.py",
}


def guards(source: str) -> Iterator[ast.stmt]:
    """The statements to delete, in their order."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise):
            yield node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            is_adding = name in ADDING and not _is_of_a_set(called)
            if is_adding or name.startswith(("check_", "_check_")):
                yield node


def _is_of_a_set(called: ast.expr) -> bool:
    """`cosigned.add(name)`: no report is meant."""
    owner = called.value if isinstance(called, ast.Attribute) else None
    words = ast.unparse(owner) if owner is not None else ""
    return words not in ("self", "report", "self._report")


def without(source: str, guard: ast.stmt) -> str:
    """The source with that statement replaced by `pass`."""
    lines = source.splitlines(keepends=True)
    indent = " " * guard.col_offset
    last = guard.end_lineno or guard.lineno
    return "".join([*lines[: guard.lineno - 1], f"{indent}pass\n", *lines[last:]])


def survives(name: str, changed: str) -> bool:
    """Whether the tests pass on a copy of the sources with that file changed."""
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        copy = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
        (copy / "tests").mkdir()
        shutil.copytree(ROOT / "tests" / "verify", copy / "tests" / "verify", ignore=ignored)
        for shared in ("conftest.py", "forge.py"):
            shutil.copy(ROOT / "tests" / shared, copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        (copy / VERIFY / name).write_text(changed, "utf-8")
        first = FIRST.get(name)
        for tests in ([f"tests/verify/{first}"] if first else []) + ["tests/verify"]:
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests]
            environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
            try:
                done = subprocess.run(
                    command, cwd=copy, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
                )
            except subprocess.TimeoutExpired:
                return False
            if done.returncode != 0:
                return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="only list the guards")
    parser.add_argument("--verbose", action="store_true", help="name those that were noticed too")
    options = parser.parse_args(arguments)
    every = sorted(path.name for path in (ROOT / VERIFY).glob("*.py") if path.name != "merkle.py")
    work = []
    for name in options.files or every:
        source = (ROOT / VERIFY / name).read_text("utf-8")
        work += [(name, source, guard) for guard in guards(source)]
    if options.list:
        for name, _source, guard in work:
            print(f"{VERIFY / name}:{guard.lineno}: {ast.unparse(guard)[:100]}")
        return 0
    if not survives("__init__.py", (ROOT / VERIFY / "__init__.py").read_text("utf-8")):
        print("the tests fail with every guard in place")
        return 2
    left = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = pool.map(lambda one: survives(one[0], without(one[1], one[2])), work)
        for (name, _source, guard), survived in zip(work, outcomes, strict=True):
            left += survived
            if survived or options.verbose:
                said = "survived" if survived else "noticed"
                print(f"{said}: {VERIFY / name}:{guard.lineno}: {ast.unparse(guard)[:100]}", flush=True)
    print(f"{len(work)} guards deleted, {left} of them unnoticed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
