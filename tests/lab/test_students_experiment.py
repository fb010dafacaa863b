"""A whole weak-to-strong run with small models: from tokens, and from JSONL files through the command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.lab.students.__main__ import main
from aar.lab.students.errors import MalformedSettings, ModelUnavailable
from aar.lab.students.experiment import Outcome, confident, hard, hf_experiment, soft
from aar.lab.students.huggingface import HFClassifier
from aar.lab.students.losses import Loss
from aar.lab.students.models import SMALL, Configured, Pretrained
from aar.lab.students.texts import SPLITS, Items, items_of
from aar.verify.pgr import UndefinedPGR
from students import ANSWERS, SMALL_MODEL, claims, need_libraries, settings

need_libraries()

import tokenizers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

# A teacher that sees less: half the width and one layer.
WEAKER = Configured.of({**SMALL, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}, seed=3)
WORDS = ["Question", ":", "Answer", "Label", "True", "False", *(f"w{number}" for number in range(10))]


def data(*counts: int) -> Items[list[int]]:
    splits = {}
    for seed, (name, count) in enumerate(zip(SPLITS, counts, strict=True)):
        rows, truth = claims(count, seed)
        splits[name] = rows, [bool(one) for one in truth]
    return items_of(splits)


DATA = data(40, 64, 32)


def run(cache: Path, items: Items[list[int]] = DATA, **given: Any) -> Outcome:
    fields = {"config": settings(epochs=1), "seed": 1, "relabel": "soft", **given}
    return hf_experiment(items, ANSWERS, WEAKER, SMALL_MODEL, cache=cache, **fields)


def fits_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Loss]]:
    """Model, number of items and loss of every fit from now on."""
    seen: list[tuple[str, int, Loss]] = []
    fit = HFClassifier.fit

    def watched(self: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        seen.append((self._source.identity(), len(inputs), self._config.loss))
        return fit(self, inputs, *rest, **named)

    monkeypatch.setattr(HFClassifier, "fit", watched)
    return seen


@pytest.mark.slow
def test_a_run_trains_teacher_student_and_ceiling_and_judges_each_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = fits_of(monkeypatch)
    outcome = run(tmp_path, data(200, 500, 300), config=settings(epochs=3, loss=Loss.of("reverse_kl")))
    xent, kl = Loss.of("xent"), Loss.of("reverse_kl")
    weak, strong = WEAKER.identity(), SMALL_MODEL.identity()
    assert seen == [(weak, 200, xent), (strong, 500, xent), (strong, 500, kl)]
    assert {marks.shape for marks in (outcome.weak, outcome.student, outcome.ceiling)} == {(300,)}
    weak_accuracy, student, ceiling = outcome.accuracies
    assert ceiling > 0.9
    assert 0.45 < weak_accuracy < ceiling - 0.1
    assert abs(outcome.weak_labels_right - weak_accuracy) < 0.1
    assert outcome.pgr == pytest.approx((student - weak_accuracy) / (ceiling - weak_accuracy))


@pytest.mark.slow
def test_teacher_and_ceiling_are_kept_and_only_the_student_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path)
    seen = fits_of(monkeypatch)
    again = run(tmp_path)
    assert len(seen) == 1
    for name in ("weak", "student", "ceiling"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    run(tmp_path, config=settings(epochs=1, loss=Loss.of("window")), relabel="confident")
    assert len(seen) == 2
    run(tmp_path, seed=2)
    assert len(seen) == 5
    run(tmp_path, config=settings(epochs=1, batch=16))
    assert len(seen) == 8
    run(tmp_path, weak_config=settings(epochs=2))
    assert [count for _model, count, _loss in seen[8:]] == [40, 64]


def test_a_model_that_cannot_be_had_is_an_error_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = fits_of(monkeypatch)
    absent = Pretrained("aar-tests/absent", local_files_only=True)
    with pytest.raises(ModelUnavailable):
        hf_experiment(DATA, ANSWERS, WEAKER, absent, config=settings(), seed=1, cache=tmp_path)
    assert not seen


def test_a_ceiling_that_is_not_above_its_teacher_has_no_pgr() -> None:
    marks = np.array([True, False])
    with pytest.raises(UndefinedPGR):
        _ = Outcome(weak=marks, student=marks, ceiling=marks, weak_labels_right=0.5).pgr


def test_weak_labels_become_targets_as_their_name_says() -> None:
    weak = np.array([0.1, 0.5, 0.6, 0.95])
    assert [part.tolist() for part in hard(weak)] == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert [part.tolist() for part in soft(weak)] == [[0.1, 0.5, 0.6, 0.95], [1, 1, 1, 1]]
    assert [part.tolist() for part in confident(weak)] == [[0, 0, 1, 1], [1, 0, 0, 1]]


def test_a_relabelling_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedSettings, match="want one of hard, soft, confident"):
        run(tmp_path, relabel="magic")


def saved_model(directory: Path, fields: Mapping[str, Any], seed: int) -> Path:
    vocabulary = {word: number for number, word in enumerate(["<unk>", *WORDS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(directory)
    Configured.of(fields, seed=seed).load("cpu", torch.float32).save_pretrained(directory)
    return directory


def written(directory: Path) -> Path:
    directory.mkdir()
    rng = np.random.default_rng(4)
    for name, count in zip(SPLITS, (24, 192, 96), strict=True):
        lines = []
        for number in range(count):
            word = int(rng.integers(0, 10))
            item = {"id": f"{name}{number}", "question": f"w{word}", "choice": "w1", "label": word % 2 == 0}
            lines.append(json.dumps(item) + "\n")
        (directory / f"{name}.jsonl").write_text("".join(lines))
    return directory


@pytest.mark.slow
def test_the_command_goes_from_jsonl_files_and_model_directories_to_a_pgr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = saved_model(tmp_path / "weak", {**SMALL, "hidden_size": 16}, 3)
    strong = saved_model(tmp_path / "strong", SMALL, 4)
    given = [
        str(written(tmp_path / "data")),
        "--cache",
        str(tmp_path / "cache"),
        "--device",
        "cpu",
        "--offline",
    ]
    given += ["--weak", str(weak), "--strong", str(strong), "--seeds", "1", "2", "--labels", "soft"]
    given += ["--loss", "logconf", "--epochs", "8", "--rank", "8", "--learning-rate", "0.01"]
    assert main(given) == 0
    *seeds, total = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["seed"] for one in seeds] == [1, 2]
    assert {one["method"] for one in seeds} == {"soft+logconf"}
    assert {one["dataset"] for one in seeds} == {"data"}
    mean = {
        name: np.mean([one[name] for one in seeds]) for name in ("weak_acc", "transfer_acc", "strong_acc")
    }
    assert mean["strong_acc"] > 0.8
    expected = (mean["transfer_acc"] - mean["weak_acc"]) / (mean["strong_acc"] - mean["weak_acc"])
    assert total == {"seeds": 2, "pgr": pytest.approx(expected)}


def test_the_command_says_what_is_wrong_with_what_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = written(tmp_path / "data")
    given = ["--cache", str(tmp_path / "cache"), "--device", "cpu", "--offline"]
    assert main([str(tmp_path / "absent"), *given]) == 2
    assert "MalformedTexts" in capsys.readouterr().err
    assert main([str(directory), *given, "--weak", "aar-tests/absent"]) == 2
    assert "hf download aar-tests/absent" in capsys.readouterr().err
    assert main([str(directory), *given, "--epochs", "0"]) == 2
    assert "epochs" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
