"""Fingerprints of a method: what stays of its snapshot when everything that changes nothing is taken away.

`same` is over what the program does: comments, white space, docstrings, the order of keys and files that it
does not name are gone, and a pipeline of the lab is what it parses to. `variant` is coarser, for what is
handed in again and again for other seeds: names, seeds of its own, statements without an effect are gone too,
and numbers keep two digits.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import math
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aar.lab.errors import MalformedPipeline

# A parser goes down once per level, and the snapshot is a stranger's: what is deeper is taken as bytes.
MOST_SOURCE_BYTES = 32_768
MOST_OF_ALL_FILES = 65_536
MOST_DEPTH = 40
MOST_TOKENS_OF_A_LINE = 600
MOST_BRANCHES = 200
_BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)

ENTRY_POINT = "predict"
# A program that says one of these may read any file that lies beside it.
LISTING = ("iterdir", "glob", "listdir", "scandir", "walk", "import_module", "__import__", "exec", "eval")
SEEDING = ("default_rng", "random", "randomstate", "generator", "pcg64", "philox", "mt19937", "sfc64")
SEED_WORDS = ("seed", "salt", "nonce", "random_state")
DIGITS_KEPT = 2
_ROUNDS = 4
_CONSTANT = (
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.UnaryOp,
    ast.BinOp,
    ast.operator,
    ast.unaryop,
    ast.expr_context,
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Two digests of a method, in hex; equal `same` implies equal `variant`."""

    same: str
    variant: str


def fingerprint_of(files: Mapping[str, str]) -> Fingerprint:
    """Of a snapshot's files; of what cannot be read as a program, by its bytes."""
    trees = _trees(files)
    same, variant = [], []
    for name in sorted(_relevant(files, trees)):
        one, other = _told(files[name], trees.get(name))
        same.append((name, one))
        variant.append((name, other))
    return Fingerprint(_digest(same), _digest(variant))


def _trees(files: Mapping[str, str]) -> dict[str, ast.Module]:
    """The modules among them by name, `method.py` first, as long as all of them stay within the bound."""
    found, size = {}, 0
    for name in sorted(files, key=lambda one: (one != "method.py", one)):
        if name.endswith(".py"):
            size += len(files[name])
            tree = _parsed(files[name]) if size <= MOST_OF_ALL_FILES else None
            if tree is not None:
                found[name] = tree
    return found


def pipeline_fingerprint(text: str) -> str | None:
    """What stays of a pipeline's text, whoever wrote it; `None` when the lab knows no such pipeline."""
    found = _pipeline(text)
    return None if found is None else _digest(found)


def pipeline_in(files: Mapping[str, str]) -> str | None:
    """The pipeline that a snapshot carries as its only data file, as `pipeline_fingerprint` has it."""
    data = [text for name, text in files.items() if name.endswith(".json")]
    return pipeline_fingerprint(data[0]) if len(data) == 1 else None


def _told(text: str, tree: ast.Module | None) -> tuple[Any, Any]:
    """What is left of a file for `same` and for `variant`."""
    try:
        if tree is not None:
            return ast.dump(tree), ast.dump(_coarse(tree))
        pipeline = _pipeline(text)
        value = pipeline if pipeline is not None else json.loads(text)
        return _keyed(value), _rounded(value)
    except _BROKEN:
        return text, text


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _pipeline(text: str) -> list[Any] | None:
    # With the lab comes numpy: who only counts what a record says waits .2 s for nothing.
    from aar.lab.pipeline import parse_pipeline_text

    try:
        return [[name, sorted(values.items())] for name, values in parse_pipeline_text(text)]
    except MalformedPipeline:
        return None


def _keyed(value: Any) -> Any:
    """A JSON value with its keys in order."""
    return json.loads(json.dumps(value, sort_keys=True))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _few_digits(value)
    return value


def _few_digits(number: float) -> str:
    """Two digits of a number; of a share near 1 two digits of what is missing.

    >>> _few_digits(0.1004), _few_digits(0.9875), _few_digits(24)
    ('0.1', '1-0.012', '24')
    """
    try:
        if not math.isfinite(number):
            return str(number)
        if 0.9 < number < 1:
            return f"1-{1 - number:.{DIGITS_KEPT}g}"
        return f"{number:.{DIGITS_KEPT}g}"
    except OverflowError:
        return str(number)


def _parsed(text: str) -> ast.Module | None:
    """A module without its docstrings; `None` when it is no Python, or nested as no person nests."""
    if len(text) > MOST_SOURCE_BYTES:
        return None
    try:
        if not _is_shallow(text):
            return None
        tree = ast.parse(text)
        _strip_docstrings(tree)
    except _BROKEN:
        return None
    return tree


def _is_shallow(text: str) -> bool:
    depth = indent = length = branches = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.OP:
            depth += token.string in ("(", "[", "{")
            depth -= token.string in (")", "]", "}")
        indent += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        length = 0 if token.type == tokenize.NEWLINE else length + 1
        branches += token.string == "elif"
        if depth + indent > MOST_DEPTH or length > MOST_TOKENS_OF_A_LINE or branches > MOST_BRANCHES:
            return False
    return True


def _strip_docstrings(tree: ast.AST) -> None:
    """Texts that stand alone say nothing to the program."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not _is_words(one)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]


def _is_words(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _relevant(files: Mapping[str, str], trees: Mapping[str, ast.Module]) -> set[str]:
    """`method.py`, and what it may read, as far as its text shows: all files where it may read any."""
    if len(files) == 1:
        return set(files)
    found, todo = {"method.py"} & set(files), ["method.py"]
    while todo:
        name = todo.pop()
        tree = trees.get(name)
        if tree is None or _reads_anything(tree):
            return set(files)
        words = _words(tree)
        for other in set(files) - found:
            stem = other.partition(".")[0]
            if any(other in word or stem in word for word in words):
                found.add(other)
                if other.endswith(".py"):
                    todo.append(other)
    return found


def _words(tree: ast.Module) -> set[str]:
    """The texts and names in a module that may name a file."""
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
        elif isinstance(node, ast.alias):
            words.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            words.add(node.module or "")
    return words


def _reads_anything(tree: ast.Module) -> bool:
    """Whether the names of files may be made up while it runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            return True
        if isinstance(node, ast.BinOp) and any(_is_text(one) for one in (node.left, node.right)):
            return True
        if isinstance(node, ast.Attribute) and (node.attr in LISTING or node.attr in ("format", "join")):
            return True
        if isinstance(node, ast.Name) and node.id in LISTING:
            return True
    return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


# The coarser one.


def _coarse(tree: ast.Module) -> ast.Module:
    """The same module, changed: without idle statements, own seeds and own names, numbers in two digits."""
    for _round in range(_ROUNDS):
        if not _drop_idle(tree):
            break
    return _Coarsener(tree).visit(tree)  # type: ignore[no-any-return]


def _drop_idle(tree: ast.Module) -> bool:
    """Drop statements of no effect; whether there were any, for then others may have none now."""
    found = False
    read = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    } | {ENTRY_POINT}
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                kept = [one for one in block if not _is_idle(one, read)]
                if len(kept) < len(block) and (kept or not isinstance(block[0], ast.Pass)):
                    found = True
                    setattr(node, name, kept or ([ast.Pass()] if name == "body" else []))
    return found


def _is_idle(node: ast.stmt, read: set[str]) -> bool:
    """Whether a statement has no effect that can be seen from its text."""
    if isinstance(node, ast.Pass) or _is_words(node):
        return True
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Constant) and not node.test.value and not node.orelse
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return node.name not in read and not node.decorator_list
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return all((one.asname or one.name).partition(".")[0] not in read for one in node.names)
    return any(_is_constant(value) for value in _values(node)) and all(
        one.id not in read for one in _targets(node)
    )


def _values(node: ast.stmt) -> Iterator[ast.expr]:
    """What is put under a plain name, where a statement does only that."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if all(isinstance(one, ast.Name) for one in targets):
            yield node.value


def _targets(node: ast.stmt) -> Iterator[ast.Name]:
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one


def _is_constant(node: ast.expr) -> bool:
    return all(isinstance(one, _CONSTANT) for one in ast.walk(node))


class _Coarsener(ast.NodeTransformer):
    """Own names in the order in which they come, own seeds 0, numbers in two digits."""

    def __init__(self, tree: ast.Module) -> None:
        own = dict.fromkeys(_bound(tree))
        own.pop(ENTRY_POINT, None)
        self._names = {name: f"v{number}" for number, name in enumerate(own)}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self._names.get(node.arg, node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.name = self._names.get(node.name, node.name)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.name = self._names.get(node.name, node.name)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return ast.Constant(_few_digits(node.value))
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name.lower() in SEEDING or _is_seed_word(name):
            node.args = [_unseeded(one) for one in node.args]
        for keyword in node.keywords:
            if _is_seed_word(keyword.arg or ""):
                keyword.value = _unseeded(keyword.value)
        self.generic_visit(node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        if any(isinstance(one, ast.Name) and _is_seed_word(one.id) for one in node.targets):
            node.value = _unseeded(node.value)
        self.generic_visit(node)
        return node


def _bound(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def _is_seed_word(name: str) -> bool:
    return any(word in name.lower() for word in SEED_WORDS)


def _unseeded(node: ast.expr) -> ast.expr:
    """0 for a seed that is written out, or a list of such; what is computed stays."""
    return ast.Constant(0) if _is_constant(node) else node
