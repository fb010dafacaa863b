"""Questions and answers as a student reads them: JSONL files, templates, tokens.

A directory in the published study's layout holds `train_label.jsonl`, `train_unlabel.jsonl` and `test.jsonl`,
one JSON object a line. Lines of the `binary` template have

```json
{"id":"q1","question":"...","choice":"...","label":true}
```
and those of `comparison` have `prompt`, `first`, `second` and a label "A" or "B", the better one. y = 1 is
`true`, or B. A label may also be 0 or 1. `id` may be missing; other fields are not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from aar.lab.students.errors import MalformedInputs, MalformedSettings, MalformedTexts

SPLITS = ("train_label", "train_unlabel", "test")
LABELS: Mapping[object, int] = MappingProxyType({"A": 0, "B": 1, 0: 0, 1: 1})

Marks: TypeAlias = NDArray[np.bool_]
Item = TypeVar("Item")
Text: TypeAlias = Mapping[str, str]
Tokens: TypeAlias = Sequence[int]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows of token ids, the ids of the two answers, and how many rows were too long and were cut."""

    rows: list[list[int]]
    no: int
    yes: int
    cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How an item becomes a prompt: `body` with its fields, then `ask`, then one of two one-token answers."""

    name: str
    fields: tuple[str, ...]
    body: str
    ask: str
    no: str
    yes: str

    def encode(self, items: Sequence[Text], tokenizer: Any, max_tokens: int) -> Encoded:
        """Prompts of at most `max_tokens` tokens; where one is longer the end of its body is left out.

        Braces in an item's own text are text. Raises `MalformedSettings` where an answer is more than one
        token, `MalformedInputs` where an item lacks a field.
        """
        no, yes = (self._answer(word, tokenizer) for word in (self.no, self.yes))
        first = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        ask = _tokens(tokenizer, self.ask)
        room = max_tokens - len(first) - len(ask)
        if room < 1:
            raise MalformedSettings(f"max_tokens {max_tokens}: the template alone needs {max_tokens - room}")
        rows, cut = [], 0
        for number, item in enumerate(items):
            lacking = [name for name in self.fields if not isinstance(item.get(name), str)]
            if lacking:
                raise MalformedInputs(f"item {number}: {', '.join(lacking)} missing, or no text")
            body = _tokens(tokenizer, self.body.format(**{name: item[name] for name in self.fields}))
            cut += len(body) > room
            rows.append([*first, *body[:room], *ask])
        return Encoded(rows, no, yes, cut)

    def _answer(self, word: str, tokenizer: Any) -> int:
        found = _tokens(tokenizer, word)
        if len(found) != 1:
            raise MalformedSettings(
                f"{word!r} is {len(found)} tokens here: want one; give a Template with other answers"
            )
        return found[0]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]


@dataclass(frozen=True, slots=True)
class Answers:
    """No text at all: items are token ids, and these two are the answers."""

    no: int
    yes: int

    def encode(self, items: Sequence[Tokens], max_tokens: int) -> Encoded:
        """The items as they are; raises `MalformedInputs` for an empty one or one that is too long."""
        rows = [[int(token) for token in item] for item in items]
        for number, row in enumerate(rows):
            if not 1 <= len(row) <= max_tokens or min(row) < 0:
                raise MalformedInputs(
                    f"item {number}: {len(row)} tokens, want 1 to {max_tokens}, none negative"
                )
        return Encoded(rows, self.no, self.yes, 0)


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "binary": Template(
            name="binary",
            fields=("question", "choice"),
            body="Question: {question}\nAnswer: {choice}\n",
            ask="Label:",
            no=" False",
            yes=" True",
        ),
        "comparison": Template(
            name="comparison",
            fields=("prompt", "first", "second"),
            body="Question: {prompt}\nAnswer A: {first}\nAnswer B: {second}\n",
            ask="Label:",
            no=" A",
            yes=" B",
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Generic[Item]):
    """One weak-to-strong data set: the teacher's items, the student's, the tested ones, and all their truth.

    The truth of `unlabelled` is there for the ceiling alone. `fingerprint` is a hex SHA-256 of everything.
    """

    labelled: Sequence[Item]
    unlabelled: Sequence[Item]
    test: Sequence[Item]
    labels: Marks
    unlabelled_truth: Marks
    test_truth: Marks
    fingerprint: str


def items_of(
    splits: Mapping[str, tuple[Sequence[Item], Sequence[bool]]],
) -> Items[Item]:
    """The three splits of `SPLITS` put together, each checked: not empty, one label each, both classes."""
    parts = {}
    for name in SPLITS:
        items, labels = splits[name]
        marks = np.asarray(labels, dtype=np.bool_)
        if not len(items) or marks.shape != (len(items),):
            raise MalformedTexts(f"{name}: {len(items)} items, labels {marks.shape}: want one each and some")
        if marks.all() or not marks.any():
            raise MalformedTexts(f"{name}: all {len(items)} labels are {bool(marks[0])}: want both classes")
        parts[name] = items, marks
    content = json.dumps(
        [[_plain(items), [int(mark) for mark in marks]] for items, marks in parts.values()],
        sort_keys=True,
        separators=(",", ":"),
    )
    return Items(
        labelled=parts["train_label"][0],
        unlabelled=parts["train_unlabel"][0],
        test=parts["test"][0],
        labels=parts["train_label"][1],
        unlabelled_truth=parts["train_unlabel"][1],
        test_truth=parts["test"][1],
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
    )


def _plain(items: Sequence[object]) -> list[object]:
    return [
        dict(item) if isinstance(item, Mapping) else [int(token) for token in item]  # type: ignore[attr-defined]
        for item in items
    ]


def read_directory(directory: Path) -> tuple[Template, Items[Text]]:
    """The data set in a directory and the template its lines fit; `MalformedTexts` says which does not."""
    splits: dict[str, tuple[list[Text], list[bool]]] = {}
    template = None
    for name in SPLITS:
        path = directory / f"{name}.jsonl"
        try:
            # Not splitlines(): a JSON text may hold U+2028 as it is.
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise MalformedTexts(
                f"{path}: {error}; want three files of JSON lines, {', '.join(SPLITS)}"
            ) from error
        items: list[Text] = []
        labels: list[bool] = []
        seen: set[object] = set()
        for number, line in enumerate(lines, 1):
            where = f"{path.name}, line {number}"
            value = _line(line, where)
            template = template or _template(value, where)
            items.append(_fields(value, template, where))
            labels.append(_label(value, where))
            if "id" in value:
                if not isinstance(value["id"], (str, int)) or value["id"] in seen:
                    raise MalformedTexts(f"{where}: id {value['id']!r:.60} stands twice, or is no text")
                seen.add(value["id"])
        splits[name] = items, labels
    if template is None:
        raise MalformedTexts(f"{directory}: no lines in {', '.join(SPLITS)}")
    return template, items_of(splits)


def _line(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedTexts(f"{where}: {line!r:.60} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedTexts(f"{where}: {line!r:.60}: want an object")
    return value


def _template(value: Mapping[str, Any], where: str) -> Template:
    for template in TEMPLATES.values():
        if set(template.fields) <= set(value):
            return template
    wanted = "; or ".join(", ".join(template.fields) for template in TEMPLATES.values())
    raise MalformedTexts(f"{where}: fields {', '.join(value)}: want {wanted}")


def _fields(value: Mapping[str, Any], template: Template, where: str) -> Text:
    for name in template.fields:
        if not isinstance(value.get(name), str):
            raise MalformedTexts(f"{where}: {name} is {value.get(name)!r:.60}: want a text")
    return {name: value[name] for name in template.fields}


def _label(value: Mapping[str, Any], where: str) -> bool:
    label = value.get("label")
    if not isinstance(label, (str, int)) or label not in LABELS:
        raise MalformedTexts(
            f'{where}: label {label!r:.60}: want true or false, 0 or 1, "A" or "B"; '
            "a PGR needs the truth of every split"
        )
    return bool(LABELS[label])
