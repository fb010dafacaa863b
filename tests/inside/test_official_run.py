"""One official run from the inside: a fine method's answers, and nothing at all of any other."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.inside.official_run import EXIT_BAD_OUTPUT, EXIT_EXCEPTION, EXIT_NOTHING_CAME, READY, as_line
from aar.lab.instance import Instance
from aar.lab.method_directory import method_files, pipeline_of
from aar.lab.pipeline import parse_pipeline, run_pipeline
from aar.lab.snapshot import snapshot_digest

SOURCE = Path(__file__).resolve().parents[2] / "src"
RNG = np.random.default_rng(17)
FEATURES = RNG.normal(size=(60, 3)).astype(np.float32)
SPLITS: list[dict[str, Any]] = [
    {
        "train": RNG.permutation(60)[:30].tolist(),
        "test": RNG.permutation(60)[:width].tolist(),
        "weak": [f"{value:.6f}" for value in RNG.uniform(0, 1, 30)],
        "class_prior": "0.400000",
        "rng": number,
    }
    for number, width in enumerate((11, 7))
]
FIRST_FEATURE = "def predict(instance, rng):\n    return instance.test_x[:, 0] > 0\n"


def lines_of(predict: Any) -> bytes:
    """What must be printed: computed here, split by split."""
    found = []
    for split in SPLITS:
        instance = Instance(
            train_x=FEATURES[split["train"]],
            weak=np.array([float(value) for value in split["weak"]]),
            test_x=FEATURES[split["test"]],
            class_prior=0.4,
        )
        answer = predict(instance, np.random.default_rng(split["rng"]))
        found.append("".join("01"[int(value > 0.5)] for value in answer) + "\n")
    return "".join(found).encode()


def official(
    directory: Path, files: dict[str, str], *, splits: Any = SPLITS
) -> subprocess.CompletedProcess[bytes]:
    submission, data = directory / "submission", directory / "instance"
    submission.mkdir()
    data.mkdir()
    for name, text in files.items():
        (submission / name).write_text(text, "utf-8")
    buffer = io.BytesIO()
    np.save(buffer, FEATURES)
    (data / "features.npy").write_bytes(buffer.getvalue())
    (data / "splits.json").write_text(json.dumps({"splits": splits, "student_l2": "0.01"}), "utf-8")
    return subprocess.run(
        [sys.executable, "-m", "aar.inside.official_run", str(submission), str(data)],
        capture_output=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def test_a_fine_method_s_answers_are_printed_one_line_per_split(tmp_path: Path) -> None:
    done = official(tmp_path, {"method.py": FIRST_FEATURE})
    assert done.returncode == 0
    assert done.stdout == lines_of(lambda instance, _rng: instance.test_x[:, 0] > 0)
    assert [len(line) for line in done.stdout.splitlines()] == [11, 7]
    assert done.stderr == b""


def test_a_researcher_s_method_directory_runs_its_pipeline(tmp_path: Path) -> None:
    pipeline = parse_pipeline([["bag", {"count": 3}], ["label_prop", {"k": 5}], ["probe", {}]])
    done = official(tmp_path, method_files(pipeline))
    assert done.returncode == 0
    assert done.stdout == lines_of(lambda instance, rng: run_pipeline(pipeline, instance, rng))


def test_each_split_has_its_own_generator(tmp_path: Path) -> None:
    done = official(
        tmp_path, {"method.py": "def predict(instance, rng):\n    return rng.random(len(instance.test_x))\n"}
    )
    assert done.stdout == lines_of(lambda instance, rng: rng.random(len(instance.test_x)))


NOISE = "import os, sys\nprint('0110')\nos.write(1, b'0110\\n')\nos.write(2, b'x')\nsys.stderr.write('x')\n"
QUIET = {
    "prints": NOISE + FIRST_FEATURE.replace("    return", "    print('1' * 99, flush=True)\n    return"),
    "writes to the descriptor": NOISE
    + FIRST_FEATURE.replace("    return", "    os.write(1, b'1\\n')\n    return"),
    "starts a program that prints": FIRST_FEATURE.replace(
        "    return", "    import subprocess; subprocess.run(['echo', '1'])\n    return"
    ),
    "puts another stdout in place": "import sys, io\nsys.stdout = io.StringIO()\n" + FIRST_FEATURE,
    "closes stdout": "import os\nos.close(1)\n" + FIRST_FEATURE,
    "leaves something for the end": (
        "import atexit, os\natexit.register(lambda: (os.write(1, b'1'), os._exit(9)))\n" + FIRST_FEATURE
    ),
    "leaves a thread behind": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n" + FIRST_FEATURE
    ),
    "changes the instance": FIRST_FEATURE.replace(
        "    return instance.test_x[:, 0] > 0",
        "    x = instance.test_x[:, 0] > 0\n    instance.test_x[:] = 9\n    return x",
    ),
}


@pytest.mark.parametrize("case", QUIET)
def test_whatever_else_a_method_does_its_answers_alone_are_printed(tmp_path: Path, case: str) -> None:
    done = official(tmp_path, {"method.py": QUIET[case]})
    assert done.returncode == 0
    assert done.stdout == lines_of(lambda instance, _rng: instance.test_x[:, 0] > 0)
    assert done.stderr == b""


def returns(expression: str) -> str:
    head = "import numpy as np\ndef predict(instance, rng):\n    n = len(instance.test_x)\n"
    return f"{head}    return {expression}\n"


BAD_ANSWERS = {
    "nothing": "None",
    "not a number": "np.full(n, np.nan)",
    "one that is not a number": "[0.5] * (n - 1) + [float('nan')]",
    "infinity": "np.full(n, np.inf)",
    "one too few": "np.zeros(n - 1)",
    "one too many": "np.zeros(n + 1)",
    "none": "[]",
    "a single number": "0.7",
    "two columns": "np.zeros((n, 2))",
    "one column": "np.zeros((n, 1))",
    "one row": "np.zeros((1, n))",
    "texts": "['1'] * n",
    "a text": "'1' * n",
    "bytes": "b'1' * n",
    "truth in objects": "np.array([True] * n, dtype=object)",
    "no numbers at all": "[None] * n",
    "complex numbers": "np.zeros(n, dtype=complex)",
    "times": "np.zeros(n, dtype='datetime64[s]')",
    "a set": "{0.5}",
    "a generator": "(0.5 for _ in range(n))",
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_an_answer_that_is_not_one_finite_number_per_item_ends_with_3_and_no_output(
    tmp_path: Path, case: str
) -> None:
    done = official(tmp_path, {"method.py": returns(BAD_ANSWERS[case])})
    assert done.returncode == EXIT_BAD_OUTPUT == 3
    assert done.stdout == b""


RAISING = {
    "raises": "def predict(instance, rng):\n    raise RuntimeError('1' * 99)\n",
    "raises in the second split": (
        "def predict(instance, rng):\n    assert len(instance.test_x) == 11\n    return [1] * 11\n"
    ),
    "raises while it is loaded": "1 / 0\n",
    "leaves with status 0": "import sys\ndef predict(instance, rng):\n    sys.exit(0)\n",
    "leaves while it is loaded": "import sys\nsys.exit(0)\n",
    "is interrupted": "def predict(instance, rng):\n    raise KeyboardInterrupt\n",
    "raises what is no exception": "def predict(instance, rng):\n    raise BaseException('x')\n",
    "has no predict": "def forecast(instance, rng):\n    return 1\n",
    "has a predict that is none": "predict = 3\n",
    "takes one argument": "def predict(instance):\n    return [1] * len(instance.test_x)\n",
    "is no Python": "def predict(instance, rng:\n",
    "has null bytes": "\0",
    "imports what there is not": "import aar.outside.nothing_of_the_kind\n" + FIRST_FEATURE,
    "recurses": "def predict(instance, rng):\n    return predict(instance, rng)\n",
    "answers with rows of two lengths": returns("[[1], [1, 2]]"),
    "answers with what raises when read": (
        "class Bad:\n    def __array__(self, *a, **k):\n        raise RuntimeError\n" + returns("Bad()")
    ),
}


@pytest.mark.parametrize("case", RAISING)
def test_a_method_that_raises_or_cannot_be_loaded_ends_with_4_and_no_output(
    tmp_path: Path, case: str
) -> None:
    done = official(tmp_path, {"method.py": RAISING[case]})
    assert done.returncode == EXIT_EXCEPTION == 4
    assert done.stdout == b""


def test_one_that_is_handed_nothing_ends_with_5() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aar.inside.official_run"],
        input=b'[["/submission/method.py", 9]]\nx = 1',
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_NOTHING_CAME, READY, b"")


def test_a_directory_without_a_method_ends_with_4(tmp_path: Path) -> None:
    assert official(tmp_path, {"other.py": FIRST_FEATURE}).returncode == EXIT_EXCEPTION


def test_a_method_that_ends_the_process_as_if_all_were_well_leaves_no_output(tmp_path: Path) -> None:
    """Status 0 is its own; that no line came is what the evaluator goes by."""
    done = official(tmp_path, {"method.py": "import os\ndef predict(instance, rng):\n    os._exit(0)\n"})
    assert done.returncode == 0
    assert done.stdout == b""


def test_a_method_finds_the_files_beside_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nSIGN = float(Path(__file__).with_name('sign.txt').read_text())\n"
        "def predict(instance, rng):\n    return SIGN * instance.test_x[:, 0] > 0\n"
    )
    done = official(tmp_path, {"method.py": code, "sign.txt": "-1"})
    assert done.stdout == lines_of(lambda instance, _rng: -instance.test_x[:, 0] > 0)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ([0.5, np.nextafter(0.5, 1), 0.49], "010"),
        ((True, False, True), "101"),
        ([2, -3, 1], "101"),
        (np.array([1, 0, 1], dtype=np.uint8), "101"),
        (np.array([0.6, 0.4, 1e30], dtype=np.float32), "101"),
        (np.array([0.6, 0.4, 0.5], dtype=np.float16), "100"),
        ([-1e308, 1e308, 0], "010"),
    ],
)
def test_a_one_stands_for_a_probability_above_one_half(answer: Any, line: str) -> None:
    assert as_line(answer, 3) == line


@pytest.mark.parametrize(
    "answer", [[1, 0], [[1, 0, 1]], ["1", "0", "1"], [1, 0, float("inf")], [10**400, 0, 1]]
)
def test_anything_else_is_no_line(answer: Any) -> None:
    assert as_line(answer, 3) is None


def test_a_method_directory_leads_back_to_its_pipeline() -> None:
    pipeline = parse_pipeline([["knn", {"k": 7}], ["probe", {}]])
    files = method_files(pipeline)
    assert pipeline_of(files) == pipeline
    assert pipeline_of({"method.py": "x"}) is None
    assert pipeline_of({"config.json": "[["}) is None
    assert snapshot_digest(files) != snapshot_digest({**files, "more.txt": ""})
    assert snapshot_digest(files) == snapshot_digest(dict(reversed(files.items())))
