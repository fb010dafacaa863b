"""Deletes each guard of the verifier and of the formats in turn, in a copy: lists what the tests miss.

    .venv/bin/python tools/delete_guards.py [--jobs N] [--list] [--verbose] [FILE...]

A guard is a statement that is a `raise`, a `yield` of a pair, or a call of something that refuses:
`self._add`, `self._missing`, `self._diverge`, `report.add`, `self._report.add`, `check_...`, `_check_...`,
`verified_by`, a `parse_...` whose value nobody takes, or one of the shape checks of kinds.py. FILE is a path
such as `src/aar/formats/note.py`, or its last part (default: every module of src/aar/verify and
src/aar/formats). A guard is noticed when tests/formats or tests/verify fails without it. Slow, one run of
tests for each guard: `./check --deep` does it, `./check` does not. Exit status 1 when a guard survives.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
VERIFY = Path("src/aar/verify")
FORMATS = Path("src/aar/formats")
ADDING = {"add", "_add", "_missing", "_diverge"}
# `check`, `item` and `filled` are the shape checks that kinds.py is made of.
REFUSING = {"check", "item", "filled", "verified_by"}
REFUSING_PREFIXES = ("check_", "_check_", "parse_")
# Far beyond what the tests take: a run that was cut off shows nothing, so its guard counts as unnoticed. A
# test that hangs without its guard ends by its own timeout, and fails.
TIMEOUT_S = 3600
# Without what is slow: simulations take minutes and refuse nothing.
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not deep")

# The tests that most likely notice, first: with -x a run ends at the first that does. A module of the formats
# has the tests of its name.
FIRST = {
    "anchor.py": "test_anchor.py",
    "budget_check.py": "test_limits.py",
    "claims.py": "test_claims.py",
    "comparisons.py": "test_comparisons.py",
    "decisions.py": "test_claims.py",
    "entry_check.py": "test_entry_check.py",
    "evidence.py": "test_evidence.py",
    "holds.py": "test_holds.py",
    "interval.py": "test_interval.py",
    "leaderboard.py": "test_leaderboard.py",
    "limits.py": "test_limits.py",
    "log_check.py": "test_log_check.py",
    "merkle.py": "test_merkle.py",
    "payload.py": "test_payload.py",
    "prover.py": "test_evidence.py",
    "pgr.py": "test_pgr.py",
    "queue_check.py": "test_workflow.py",
    "reader.py": "test_reader.py",
    "receipt.py": "test_receipt.py",
    "report.py": "test_report.py",
    "workflow.py": "test_workflow.py",
    "run_errors.py": "test_run_errors.py",
    "resources.py": "test_resources.py",
    "signatures_ahead.py": "test_signatures_ahead.py",
    "spending.py": "test_spending.py",
    "splits.py": "test_splits.py",
    "statistics.py": "test_statistics.py",
    "study.py": "test_study.py",
    "tallies.py": "test_tallies.py",
    "tile_hashes.py": "test_tile_hashes.py",
}


def guards(source: str) -> Iterator[ast.stmt]:
    """The statements to delete, in their order."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) or _is_of_a_pair(node):
            yield node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            is_adding = name in ADDING and not _is_of_a_set(called)
            if is_adding or name in REFUSING or name.startswith(REFUSING_PREFIXES):
                yield node


def _is_of_a_pair(node: ast.AST) -> bool:
    """`yield expected, got`: a rule shared by writer and verifier tells its caller what it found."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Yield):
        return False
    value = node.value.value
    return isinstance(value, ast.Tuple) and len(value.elts) == 2


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


def trials(changed: Path) -> list[str]:
    """What to run on a change of that module, the likeliest to notice first."""
    if changed.parent == FORMATS:
        own = Path("tests/formats", FIRST.get(changed.name, f"test_{changed.name}"))
        own_tests = [str(own)] if (ROOT / own).is_file() else []
        return [*own_tests, "tests/formats", "tests/verify"]
    first = FIRST.get(changed.name)
    return ([f"tests/verify/{first}"] if first else []) + ["tests/verify"]


class Copy:
    """A copy of what the tests need, in which one module at a time is another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
        (folder / "tests").mkdir()
        for tests in ("formats", "verify"):
            shutil.copytree(ROOT / "tests" / tests, folder / "tests" / tests, ignore=ignored)
        for shared in (ROOT / "tests").glob("*.py"):
            shutil.copy(shared, folder / "tests")
        # tests/formats runs the fuzzer of tools/.
        shutil.copytree(ROOT / "tools", folder / "tools", ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        # By the hash of the source: a change within one second that leaves the size as it was must be seen.
        compileall.compile_dir(
            folder / "src", quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
        )

    def survives(self, module: Path, changed: str) -> bool:
        """Whether the tests pass with that module changed."""
        file = self._folder / module
        original = file.read_bytes()
        file.write_text(changed, "utf-8")
        try:
            return all(self._passes(tests) for tests in trials(module))
        finally:
            file.write_bytes(original)

    def _passes(self, tests: str) -> bool:
        command = [sys.executable, "-m", "pytest", *OPTIONS, tests]
        environment = {**os.environ, "PYTHONPATH": str(self._folder / "src")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=environment,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode == 0


class Copies:
    """So many copies that each thread has one while it needs one."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Copy] = SimpleQueue()
        for number in range(count):
            self._free.put(Copy(folder / str(number)))

    def survives(self, module: Path, changed: str) -> bool:
        copy = self._free.get()
        try:
            return copy.survives(module, changed)
        finally:
            self._free.put(copy)


def modules(named: Sequence[str]) -> list[Path]:
    """The modules to go through: all of them, or those named."""
    every = [
        path.relative_to(ROOT)
        for folder in (VERIFY, FORMATS)
        for path in sorted((ROOT / folder).glob("*.py"))
    ]
    chosen = [path for path in every if not named or str(path) in named or path.name in named]
    missing = [name for name in named if not any(name in (str(path), path.name) for path in every)]
    if missing:
        raise SystemExit(f"{missing[0]} is no module of {VERIFY} or {FORMATS}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="only list the guards")
    parser.add_argument("--verbose", action="store_true", help="name those that were noticed too")
    options = parser.parse_args(arguments)
    work = []
    for module in modules(options.files):
        source = (ROOT / module).read_text("utf-8")
        work += [(module, source, guard) for guard in guards(source)]
    if options.list:
        for module, _source, guard in work:
            print(f"{module}:{guard.lineno}: {ast.unparse(guard)[:100]}")
        return 0
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        copies = Copies(Path(folder), options.jobs)
        return _delete(work, copies, jobs=options.jobs, is_verbose=options.verbose)


def _delete(
    work: Sequence[tuple[Path, str, ast.stmt]], copies: Copies, *, jobs: int, is_verbose: bool
) -> int:
    """Go through the guards; the tests must pass while all of them are there."""
    for module in dict.fromkeys(module.parent / "__init__.py" for module, _source, _guard in work):
        if not copies.survives(module, (ROOT / module).read_text("utf-8")):
            print("the tests fail with every guard in place")
            return 2
    left = 0
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(lambda one: copies.survives(one[0], without(one[1], one[2])), work)
        for (module, _source, guard), survived in zip(work, outcomes, strict=True):
            left += survived
            if survived or is_verbose:
                said = "survived" if survived else "noticed"
                print(f"{said}: {module}:{guard.lineno}: {ast.unparse(guard)[:100]}", flush=True)
    print(f"{len(work)} guards deleted, {left} of them unnoticed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
