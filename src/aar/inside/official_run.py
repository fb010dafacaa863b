"""One official run from the inside: load the method, run it on every split, print one line per split.

Files: ``/submission/*`` is the method directory, ``/instance/features.npy`` and ``/instance/splits.json`` the
data, with ``votes.npy`` and ``zero_shot.npy`` beside them where the problem has such. They are handed over
once this program has imported all that it needs and said so; it takes no others. Then standard output
carries '0' and '1' and newlines, nothing else; the evaluator believes nothing but the count of its
characters. Exit status 3: an answer is not one finite number per test item; 4: the method raised, or cannot
be loaded; 5: nothing was handed over.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# The pipeline is here for what it brings along: what most methods import is in memory before they come.
from aar.lab import pipeline  # noqa: F401
from aar.lab.handed_files import read_files
from aar.lab.instance import Instance

EXIT_BAD_OUTPUT = 3
EXIT_EXCEPTION = 4
EXIT_NOTHING_CAME = 5
READY = b"ready\n"

Method = Callable[[Instance, np.random.Generator], Any]


def load_method(directory: Path) -> Method:
    """The `predict` of the directory's method.py; whatever loading it raises travels."""
    specification = importlib.util.spec_from_file_location("method", directory / "method.py")
    if specification is None or specification.loader is None:
        raise ImportError(f"{directory / 'method.py'} cannot be loaded")
    module = importlib.util.module_from_spec(specification)
    sys.modules["method"] = module
    specification.loader.exec_module(module)
    predict: Method = module.predict
    return predict


def as_line(answer: Any, count: int) -> str | None:
    """'1' per test item whose P(y = 1) is above one half, else '0'; `None` unless `count` finite numbers."""
    values = np.asarray(answer)
    # Numbers and truth values only: a conversion would take strings that look like numbers for numbers.
    if values.dtype.kind not in "fiub" or values.shape != (count,) or not np.isfinite(values).all():
        return None
    return "".join("1" if value > 0.5 else "0" for value in values.tolist())


def read_instances(data: Path) -> Iterator[tuple[Instance, np.random.Generator]]:
    """The instance of each split, and the generator that its method is given."""
    features = np.load(data / "features.npy", allow_pickle=False)
    whole = json.loads((data / "splits.json").read_text("utf-8"))
    votes, zero_shot = (
        np.load(data / name, allow_pickle=False) if (data / name).exists() else None
        for name in ("votes.npy", "zero_shot.npy")
    )
    trained = answered = 0
    for split in whole["splits"]:
        train, test = len(split["train"]), len(split["test"])
        own = None if zero_shot is None else zero_shot[answered : answered + train + test]
        instance = Instance(
            train_x=features[split["train"]],
            weak=np.array([float(value) for value in split["weak"]]),
            test_x=features[split["test"]],
            class_prior=float(split["class_prior"]),
            student_l2=float(whole["student_l2"]),
            votes=None if votes is None else votes[trained : trained + train],
            zero_shot=None if own is None else (own[:train], own[train:]),
        )
        trained, answered = trained + train, answered + train + test
        yield instance, np.random.default_rng(split["rng"])


def predicted_lines(
    predict: Method, instances: Iterable[tuple[Instance, np.random.Generator]]
) -> list[str] | None:
    """One line per split; `None` as soon as an answer is none."""
    lines = []
    for instance, rng in instances:
        count = len(instance.test_x)
        line = as_line(predict(instance, rng), count)
        if line is None:
            return None
        lines.append(line)
    return lines


def rehearse() -> None:
    """Do once what every run does: the first time costs milliseconds, and this time nobody waits."""
    file = io.BytesIO()
    np.save(file, np.zeros((2, 2)), allow_pickle=False)
    file.seek(0)
    rows = np.load(file, allow_pickle=False)
    instance = Instance(train_x=rows[[0]], weak=np.array([0.5]), test_x=rows[[1]], class_prior=0.5)
    predicted_lines(lambda one, rng: rng.random(len(one.test_x)), [(instance, np.random.default_rng(0))])


def receive(stream: BinaryIO) -> None:
    """Write the files that are handed over, each to its path; `EOFError` when they do not all come.

    Files and directories are closed to writing: a method that writes there by mistake is told so.
    """
    files = {Path(path): content for path, content in read_files(stream).items()}
    folders = {folder for path in files for folder in path.parents[:-1]}
    for folder in sorted(folders):
        folder.mkdir(exist_ok=True)
    for path, content in files.items():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as file:
            file.write(content)
    for folder in folders:
        folder.chmod(0o555)


def wait_and_run() -> int:
    """Say that all is ready, take what is handed over, and run it: once."""
    rehearse()
    os.write(1, READY)
    try:
        with open(0, "rb") as stream:
            receive(stream)
    except EOFError:
        return EXIT_NOTHING_CAME
    # Whatever a method reads from its input, it is nothing that was meant for anybody.
    os.open(os.devnull, os.O_RDONLY)
    return main()


def main(submission: Path = Path("/submission"), data: Path = Path("/instance")) -> int:
    """Run all splits; nothing is printed unless all of them went well."""
    # The real standard output is ours alone: whatever the method prints goes nowhere.
    output = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        lines = predicted_lines(load_method(submission), read_instances(data))
    except BaseException:  # noqa: BLE001 - a method may raise anything, SystemExit too; what it says stays here
        return EXIT_EXCEPTION
    if lines is None:
        return EXIT_BAD_OUTPUT
    with os.fdopen(output, "w", encoding="ascii") as file:
        file.write("".join(line + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    status = main(*map(Path, sys.argv[1:])) if sys.argv[1:] else wait_and_run()
    # Threads or exit handlers that a method left behind have no say in how this ends.
    os._exit(status)
