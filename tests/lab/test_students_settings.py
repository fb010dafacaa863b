"""Settings: one text, one hash, and nothing that no student can have."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from aar.lab.students.errors import MalformedSettings
from aar.lab.students.losses import LOSSES, Loss
from aar.lab.students.settings import PRESETS, HFConfig, format_config, parse_config

CHANGED: dict[str, Any] = {
    "device": "cuda:1",
    "loss": Loss.of("logconf", {"c": 0.25}),
    "adaptation": "full",
    "rank": 8,
    "alpha": 16,
    "learning_rate": 2e-5,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "max_gradient_norm": 0.0,
    "batch": 16,
    "micro_batch": 4,
    "epochs": 2,
    "max_tokens": 512,
    "predict_batch": 8,
    "precision": "bf16",
    "gradient_checkpointing": True,
    "deterministic": False,
    "seed": 7,
}


def test_every_field_is_in_the_text_and_in_the_hash() -> None:
    plain = HFConfig(device="cpu")
    assert set(CHANGED) == {field.name for field in dataclasses.fields(HFConfig)}
    digests = {plain.digest}
    for name, value in CHANGED.items():
        other = dataclasses.replace(plain, **{name: value})
        digests.add(other.digest)
        assert parse_config(format_config(other)) == other
    assert len(digests) == len(CHANGED) + 1


def test_the_defaults_are_the_published_studys() -> None:
    ours = json.loads(format_config(HFConfig(device="cuda")))
    published = {"rank": 32, "alpha": 32, "learning_rate": 1e-4, "batch": 32, "epochs": 5, "max_tokens": 8192}
    assert {name: ours[name] for name in published} == published
    assert (ours["schedule"], ours["adaptation"], ours["loss"]) == ("linear", "lora", ["xent", {}])
    assert dict(PRESETS) == {"weak": "Qwen/Qwen1.5-0.5B-Chat", "strong": "Qwen/Qwen3-4B-Base"}


def test_whole_and_real_spellings_of_a_number_are_the_same_settings() -> None:
    assert HFConfig(device="cpu", weight_decay=1).digest == HFConfig(device="cpu", weight_decay=1.0).digest


def test_the_text_of_settings_is_what_it_was() -> None:
    # A change of this hash forgets every kept teacher: make it on purpose.
    assert HFConfig(device="cpu").digest == "893646d5e3815728df23a3fc8b75453a226900678bc318cd38b4dc36c5928006"


@pytest.mark.parametrize(
    "bad",
    [
        {"batch": 0},
        {"batch": True},
        {"batch": 2.0},
        {"epochs": -1},
        {"seed": -1},
        {"micro_batch": -1},
        {"rank": "8"},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": 1.5},
        {"learning_rate": True},
        {"weight_decay": -0.1},
        {"weight_decay": float("inf")},
        {"warmup": 1.5},
        {"max_gradient_norm": float("nan")},
        {"deterministic": 1},
        {"gradient_checkpointing": "no"},
        {"adaptation": "qlora"},
        {"schedule": "step"},
        {"precision": "fp16"},
        {"device": ""},
        {"device": 0},
        {"loss": "xent"},
    ],
)
def test_settings_that_cannot_be_are_refused_by_their_name(bad: dict[str, Any]) -> None:
    with pytest.raises(MalformedSettings, match=next(iter(bad))):
        HFConfig(**{"device": "cpu", **bad})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"device":"cpu","device":"cpu"}',
        '{"device":"cpu","speed":1}',
        '{"device":"cpu","loss":"xent"}',
        '{"device":"cpu","loss":["xent"]}',
        '{"device":"cpu","loss":["huber",{}]}',
        '{"device":"cpu","loss":["xent",{"c":0.5}]}',
        "[" * 100_000,
    ],
)
def test_texts_that_are_no_settings_are_refused(text: str) -> None:
    with pytest.raises(MalformedSettings):
        parse_config(text)


@pytest.mark.parametrize("value", [-0.1, 0.96, float("nan"), True, "0.5", None])
def test_a_loss_refuses_a_parameter_out_of_range(value: object) -> None:
    with pytest.raises(MalformedSettings, match=r"logconf\.c"):
        Loss.of("logconf", {"c": value})


def test_a_loss_has_all_its_parameters_and_no_other_name() -> None:
    for name, spans in LOSSES.items():
        assert dict(Loss.of(name).parameters) == {key: span.default for key, span in spans.items()}
        assert Loss.of(name).needs_batch == (name == "logconf")
    for bad in ("mse", None, 3, ["xent"]):
        with pytest.raises(MalformedSettings, match="want one of"):
            Loss.of(bad)
    with pytest.raises(MalformedSettings, match="alpha"):
        Loss.of("product", {"gamma": 1})
    with pytest.raises(MalformedSettings):
        Loss.of("product", [1])


def test_the_learning_rate_rises_for_its_warmup_and_falls_as_the_schedule_says() -> None:
    def rates(**fields: Any) -> list[float]:
        config = HFConfig(device="cpu", learning_rate=0.1, **fields)
        return [config.rate(step, 10) for step in range(10)]

    assert rates() == pytest.approx([0.1 * (1 - step / 10) for step in range(10)])
    assert rates(schedule="constant") == [0.1] * 10
    cosine = [0.05 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert rates(schedule="cosine") == pytest.approx(cosine)
    warmed = rates(warmup=0.2)
    assert warmed[:3] == pytest.approx([0.05, 0.1, 0.1])
    assert warmed[9] == pytest.approx(0.1 / 8)
    assert rates(warmup=1.0)[-1] == pytest.approx(0.1)


def test_the_precision_follows_the_device_unless_it_is_said() -> None:
    assert HFConfig(device="cuda").is_bf16
    assert HFConfig(device="cuda:0").is_bf16
    assert not HFConfig(device="cpu").is_bf16
    assert HFConfig(device="cpu", precision="bf16").is_bf16
    assert not HFConfig(device="cuda", precision="fp32").is_bf16
