"""What must hold of the sources as text: who imports what, captions, doctests, lock files."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import aar

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "aar"
MODULES = sorted(path.relative_to(SOURCES.parent) for path in SOURCES.rglob("*.py"))

# The fine-tuned students, and they alone, and late: tests/lab/test_students_probes.py holds them to it.
FINE_TUNING = {"torch", "transformers", "peft", "safetensors"}

MAY_IMPORT = {
    "formats": {"nacl", "aar.formats"},
    "verify": {"nacl", "aar.formats", "aar.verify"},
    "lab": {"nacl", "numpy", "scipy", "sklearn", "aar.formats", "aar.verify", "aar.lab"},
    "inside": {"nacl", "numpy", "aar", "aar.formats", "aar.verify", "aar.lab", "aar.inside"},
}


def imported(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            assert name not in {"__import__"}, f"{path} hides an import"


def allowed_as(name: str) -> str:
    """What an import counts as: our own packages by two parts, others by one."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "aar" else parts[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    found = {
        f"{path.relative_to(SOURCES)}: {name}"
        for path in (SOURCES / package).rglob("*.py")
        for name in imported(path)
        if allowed_as(name) not in MAY_IMPORT[package] and name.split(".")[0] not in sys.stdlib_module_names
        if not (path.is_relative_to(SOURCES / "lab" / "students") and allowed_as(name) in FINE_TUNING)
    }
    assert not found
    assert list((SOURCES / package).rglob("*.py")), f"{package} is empty: this test would see nothing"


# What the extra `llm` brings, and its own dependencies that are used with it.
OF_MODELS = {"inspect_ai", "mcp", "anthropic", "openai", "pydantic", "anyio", "starlette", "uvicorn", "httpx"}


def test_what_the_extra_for_models_brings_is_imported_by_its_adapters_alone() -> None:
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if any(allowed_as(name) in OF_MODELS for name in imported(path))
    }
    assert found
    assert all(one.startswith(("llm/inspect_", "llm/mcp_")) for one in found)


def test_scikit_learn_with_its_labels_is_loaded_by_problems_only_and_late() -> None:
    """Its digits come with their answers: nothing that a researcher imports may pull it in."""
    at_top = []
    users = set()
    for path in SOURCES.rglob("*.py"):
        source = ast.parse(path.read_text("utf-8"))
        if any(name.split(".")[0] == "sklearn" for name in imported(path)):
            users.add(str(path.relative_to(SOURCES)))
        at_top += [
            path
            for node in source.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn")
        ]
    # A sandbox finds lab/problems empty.
    assert users <= {f"lab/problems/{name}.py" for name in ("digits", "jsonl", "preflight")}
    assert not at_top


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_starts_with_a_caption_of_one_line(path: Path) -> None:
    text = ast.get_docstring(ast.parse((SOURCES.parent / path).read_text("utf-8")))
    assert text, "no docstring"
    assert len(text.splitlines()) == 1 or text.splitlines()[1] == "", "the caption runs on into a second line"
    assert text.splitlines()[0].rstrip()[-1] in ".!?", text.splitlines()[0]


def test_examples_in_docstrings_are_true() -> None:
    failed, tried = 0, 0
    for path in MODULES:
        if ">>>" not in (SOURCES.parent / path).read_text("utf-8"):
            continue
        module = importlib.import_module(".".join(path.with_suffix("").parts))
        result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
        failed, tried = failed + result.failed, tried + result.attempted
    assert failed == 0
    assert tried > 3


def test_the_tree_in_the_architecture_page_is_the_tree() -> None:
    architecture = runpy.run_path(str(ROOT / "tools" / "architecture.py"))
    assert (ROOT / "docs" / "architecture.md").read_text("utf-8") == architecture["page"](), (
        "run: python tools/architecture.py"
    )


def test_nothing_public_names_the_machine_it_was_written_on() -> None:
    words = re.compile(r"/(?:work|root)/|/tmp/aar\b|/home/\w")
    kept = [
        ROOT / name
        for name in ("aar", "check", "pyproject.toml", "requirements.lock", "requirements-dev.lock")
    ]
    kept += [
        path
        for folder in ("src", "docs", "tools", "skills")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    ]
    kept += ROOT.glob("*.md")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in kept
        if path.suffix not in {".pyc", ".png", ".npy", ".safetensors"}
        for match in words.finditer(path.read_text("utf-8"))
    ]
    assert not found


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == aar.__version__
    assert f"## {aar.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-llm.lock", "requirements-dev.lock"])
def test_a_lock_file_pins_everything_by_hash_and_names_no_place(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    wanted = re.sub(r"\\\n", " ", text).splitlines()
    for line in wanted[1:]:
        assert re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line[:80]
    assert not re.search(r"://|^-|file:|@ ", text, re.MULTILINE)


def test_the_lock_files_hold_what_the_project_declares_and_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9.-]+==\S+", (ROOT / name).read_text("utf-8"), re.MULTILINE))

    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime < dev
    llm = pins("requirements-llm.lock")
    assert runtime < llm < dev
    assert set(project["optional-dependencies"]["llm"]) <= llm
    declared = {re.split(r"[>=<\[]", one)[0] for one in project["dependencies"]}
    assert declared <= {pin.split("==")[0] for pin in runtime}
    assert {re.split(r"[>=<\[]", one)[0] for one in project["optional-dependencies"]["dev"]} <= {
        pin.split("==")[0] for pin in dev
    }
