"""Fine-tuned students on a model small enough for a test: what they read, learn, and repeat to the bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.lab.students.errors import MalformedInputs, MalformedSettings, ModelUnavailable, TrainingDiverged
from aar.lab.students.huggingface import HFClassifier
from aar.lab.students.losses import LOSSES, Loss
from aar.lab.students.models import SMALL, Configured, Pretrained
from aar.lab.students.student import Student
from aar.lab.students.texts import TEMPLATES, Answers
from students import ANSWERS, NO, SMALL_MODEL, YES, claims, need_libraries, settings

need_libraries()

import safetensors.torch  # noqa: E402
import torch  # noqa: E402

ROWS, TRUTH = claims(600, 0)
FRESH, FRESH_TRUTH = claims(300, 1)


def student(**fields: Any) -> HFClassifier[list[int]]:
    return HFClassifier(SMALL_MODEL, settings(**fields), ANSWERS)


def accuracy(fitted: Student[list[list[int]]]) -> float:
    return float(((fitted.predict(FRESH) > 0.5) == FRESH_TRUTH).mean())


def test_the_small_model_is_the_one_that_claims_has() -> None:
    model = SMALL_MODEL.load("cpu", torch.float32)
    assert sum(one.numel() for one in model.parameters()) == 89_792
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_an_answer_is_the_softmax_over_two_logits_of_the_whole_model_row_by_row() -> None:
    ragged = [row[: 2 + number % 5] for number, row in enumerate(FRESH[:40])]
    model = SMALL_MODEL.load("cpu", torch.float32).eval()
    expected = []
    for row in ragged:
        with torch.no_grad():
            last = model(input_ids=torch.tensor([row])).logits[0, -1].double()
        expected.append(float(last[YES].exp() / (last[YES].exp() + last[NO].exp())))
    ours = HFClassifier[list[int]](SMALL_MODEL, settings(predict_batch=7), ANSWERS).zero_shot(ragged)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("adaptation", ["lora", "full"])
def test_a_student_learns_the_truth_and_its_loss_falls(adaptation: str) -> None:
    fitted = student(adaptation=adaptation, epochs=3).fit(ROWS, TRUTH, seed=1)
    assert accuracy(fitted) > 0.9
    losses = fitted.training.losses
    assert len(losses) == 3 * 19
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2
    assert fitted.training.examples == 1_800
    expected = 89_792 if adaptation == "full" else 8 * 2 * (4 * (64 + 64) + 3 * (64 + 128))
    assert fitted.training.trained_parameters == expected


def test_the_same_seed_gives_the_same_student_to_the_bit_and_another_gives_another() -> None:
    def answers(seed: int | None, settings_seed: int = 0) -> Any:
        one = student(epochs=1, seed=settings_seed)
        return one.fit(ROWS[:96], TRUTH[:96], seed=seed).predict(FRESH)

    np.testing.assert_array_equal(answers(1), answers(1))
    np.testing.assert_array_equal(answers(None, settings_seed=3), answers(3))
    assert np.abs(answers(1) - answers(2)).max() > 1e-4


def test_a_second_fit_starts_from_the_model_and_not_from_the_first() -> None:
    one = student(epochs=1)
    first = one.fit(ROWS[:96], TRUTH[:96], seed=1).predict(FRESH)
    one.fit(ROWS[:96], 1 - TRUTH[:96], seed=2)
    np.testing.assert_array_equal(one.fit(ROWS[:96], TRUTH[:96], seed=1).predict(FRESH), first)


def test_fitting_leaves_torchs_own_randomness_and_flags_as_they_were() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    student(epochs=1).fit(ROWS[:32], TRUTH[:32], seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("adaptation", ["lora", "full"])
def test_micro_batches_and_checkpointing_change_the_memory_and_not_the_student(
    name: str, adaptation: str
) -> None:
    fields: dict[str, Any] = {
        "epochs": 1,
        "loss": Loss.of(name),
        "adaptation": adaptation,
        "learning_rate": 1e-3,
    }
    soft = 0.1 + 0.8 * TRUTH[:100]
    weights = np.linspace(0.2, 1, 100)
    whole = student(**fields).fit(ROWS[:100], soft, weights, seed=1)
    parts = student(**fields, micro_batch=8, gradient_checkpointing=True).fit(
        ROWS[:100], soft, weights, seed=1
    )
    np.testing.assert_allclose(parts.training.losses, whole.training.losses, atol=1e-4)
    np.testing.assert_allclose(parts.predict(FRESH), whole.predict(FRESH), atol=2e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_with_every_loss_a_student_learns_from_soft_labels(name: str) -> None:
    # A narrow window, or a student that believes itself early, makes a short training go wrong.
    given = {"window": {"radius": 0.45}, "logconf": {"c": 0.2, "warmup": 1.0}}.get(name)
    fitted = student(loss=Loss.of(name, given), epochs=3).fit(ROWS, 0.1 + 0.8 * TRUTH, seed=1)
    assert accuracy(fitted) > 0.8


def test_an_item_without_weight_is_as_good_as_absent_and_only_ratios_count() -> None:
    weights = (np.arange(96) < 64).astype(np.float64)
    part = student(epochs=1).fit(ROWS[:64], TRUTH[:64], seed=1).predict(FRESH)
    whole = student(epochs=1).fit(ROWS[:96], TRUTH[:96], 8 * weights, seed=1)
    np.testing.assert_array_equal(whole.predict(FRESH), part)
    assert whole.training.examples == 64


def test_weights_decide_between_labels_that_contradict_each_other() -> None:
    weights = np.concatenate([np.full(600, 1.0), np.full(600, 0.05)])
    fitted = student(epochs=2).fit([*ROWS, *ROWS], np.concatenate([TRUTH, 1 - TRUTH]), weights, seed=1)
    assert accuracy(fitted) > 0.8


def test_in_bf16_the_trained_weights_stay_fp32_and_the_student_still_learns() -> None:
    for adaptation in ("lora", "full"):
        fitted = student(precision="bf16", adaptation=adaptation, epochs=3).fit(
            ROWS[:300], TRUTH[:300], seed=1
        )
        assert np.mean(fitted.training.losses[-4:]) < 0.9 * fitted.training.losses[0]
        assert ((fitted.predict(FRESH) >= 0) & (fitted.predict(FRESH) <= 1)).all()
        kinds = {one.dtype for one in fitted._model.parameters() if one.requires_grad}
        assert kinds == {torch.float32}
        frozen = {one.dtype for one in fitted._model.parameters() if not one.requires_grad}
        assert frozen == ({torch.bfloat16} if adaptation == "lora" else set())


def test_lora_leaves_the_models_own_weights_as_they_were() -> None:
    fitted = student(epochs=1).fit(ROWS[:64], TRUTH[:64], seed=1)
    before = dict(SMALL_MODEL.load("cpu", torch.float32).named_parameters())
    own = {
        name.replace(".base_layer", ""): one
        for name, one in fitted._model.named_parameters()
        if ".lora_" not in name
    }
    assert set(own) == set(before)
    assert all(torch.equal(own[name], before[name]) for name in before)


def test_weights_in_a_file_are_the_models_and_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    model = Configured.of(SMALL, seed=7).load("cpu", torch.float32)
    weights = {name: one for name, one in model.state_dict().items() if name != "lm_head.weight"}
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({name: one.clone() for name, one in weights.items()}, path)
    filled = Configured.of(SMALL, seed=8, weights=path)
    loaded = filled.load("cpu", torch.float32)
    for name, one in model.named_parameters():
        assert torch.equal(dict(loaded.named_parameters())[name], one)
    assert torch.equal(loaded.get_output_embeddings().weight, model.get_input_embeddings().weight)
    assert filled.identity() != Configured.of(SMALL, seed=8).identity()
    del weights["model.norm.weight"]
    safetensors.torch.save_file({name: one.clone() for name, one in weights.items()}, path)
    with pytest.raises(ModelUnavailable, match="model.norm.weight"):
        filled.load("cpu", torch.float32)
    with pytest.raises(ModelUnavailable, match="no weights for this configuration"):
        Configured.of({**SMALL, "hidden_size": 32}, weights=path).load("cpu", torch.float32)
    path.write_bytes(b"torn")
    with pytest.raises(ModelUnavailable):
        filled.load("cpu", torch.float32)


def test_a_directory_of_weights_is_loaded_and_named_by_its_content(tmp_path: Path) -> None:
    model = Configured.of(SMALL, seed=7).load("cpu", torch.float32)
    model.save_pretrained(tmp_path)
    source = Pretrained(str(tmp_path))
    loaded = source.load("cpu", torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    before = source.identity()
    assert before == Pretrained(str(tmp_path), local_files_only=True).identity()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert source.identity() != before
    with pytest.raises(ModelUnavailable, match="tokenizer"):
        source.tokenizer()


def test_weights_that_cannot_be_had_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="hf download aar-tests/absent --local-dir DIR"):
        Pretrained("aar-tests/absent", local_files_only=True).load("cpu", torch.float32)
    with pytest.raises(ModelUnavailable, match="hf download"):
        Pretrained("no such/name", local_files_only=True).identity()
    for name in ("./absent", "/absent", "~/absent", "models/of/mine"):
        with pytest.raises(ModelUnavailable, match="is no directory"):
            Pretrained(name).identity()
    with pytest.raises(ModelUnavailable, match="no causal language model as safetensors"):
        Pretrained(str(tmp_path)).load("cpu", torch.float32)
    torch.save({}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(ModelUnavailable, match="safetensors"):
        Pretrained(str(tmp_path)).load("cpu", torch.float32)


def test_what_a_student_cannot_read_is_refused() -> None:
    one = student(epochs=1)
    with pytest.raises(MalformedInputs, match="not fitted"):
        one.predict(FRESH)
    with pytest.raises(MalformedInputs, match="not fitted"):
        _ = one.training
    with pytest.raises(MalformedInputs, match="no items"):
        one.zero_shot([])
    with pytest.raises(MalformedInputs, match="want one each"):
        one.fit(ROWS, TRUTH[:3])
    with pytest.raises(MalformedInputs, match="none of 600 items has weight"):
        one.fit(ROWS, TRUTH, np.zeros(600))
    with pytest.raises(MalformedInputs, match="token 118: the model knows 0 to 117"):
        one.fit([[118]], np.ones(1))
    with pytest.raises(MalformedInputs, match="token 500"):
        HFClassifier[list[int]](SMALL_MODEL, settings(), Answers(no=1, yes=500)).zero_shot([[1]])
    with pytest.raises(MalformedSettings, match="no tokenizer"):
        HFClassifier[Any](SMALL_MODEL, settings(), TEMPLATES["binary"]).zero_shot(
            [{"question": "", "choice": ""}]
        )


def test_a_model_whose_logits_are_not_its_head_on_its_last_state_is_refused() -> None:
    fields = {**SMALL, "model_type": "gemma2", "head_dim": 16, "final_logit_softcapping": 30.0}
    with pytest.raises(MalformedSettings, match="two-token readout"):
        HFClassifier[list[int]](Configured.of(fields), settings(), ANSWERS).zero_shot(FRESH[:2])


def test_training_that_runs_away_is_an_error_and_leaves_no_student(tmp_path: Path) -> None:
    weights = {
        name: one * float("nan") for name, one in SMALL_MODEL.load("cpu", torch.float32).named_parameters()
    }
    safetensors.torch.save_file(weights, tmp_path / "nan.safetensors")
    broken = Configured.of(SMALL, weights=tmp_path / "nan.safetensors")
    one = HFClassifier[list[int]](broken, settings(epochs=1), ANSWERS)
    with pytest.raises(TrainingDiverged, match="learning rate"):
        one.fit(ROWS[:32], TRUTH[:32])
    with pytest.raises(MalformedInputs, match="not fitted"):
        one.predict(FRESH)
    with pytest.raises(TrainingDiverged, match="not finite"):
        one.zero_shot(FRESH)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    one = HFClassifier[list[int]](SMALL_MODEL, dataclasses.replace(settings(), device="cuda"), ANSWERS)
    with pytest.raises(MalformedSettings, match='take device "cpu"'):
        one.fit(ROWS, TRUTH)
