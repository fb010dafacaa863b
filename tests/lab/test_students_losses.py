"""The losses on logits, beside the formulas of their papers in numpy, item by item; and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, rel_entr, softmax

from aar.lab.students.losses import LEAST_TARGET, LOSSES, Loss, threshold_of
from students import need_libraries

need_libraries()

import torch  # noqa: E402

Array = NDArray[np.float64]

RNG = np.random.default_rng(11)
LOGITS = RNG.normal(size=(64, 2)) * 3
TARGETS = np.concatenate([RNG.uniform(0, 1, 60), [0.0, 1.0, 0.0, 1.0]])
OWN = softmax(LOGITS, axis=1)[:, 1]


def entropy(target: Array, own: Array) -> Array:
    return -(target * np.log(own) + (1 - target) * np.log(1 - own))


def by_xent() -> Array:
    return entropy(TARGETS, OWN)


def by_logconf() -> Array:
    # Burns et al. 2023, section 4.3: the threshold leaves as many above it as the teacher calls ones.
    threshold = np.quantile(OWN, 1 - TARGETS.mean())
    return entropy(0.7 * TARGETS + 0.3 * (threshold < OWN), OWN)


def by_product() -> Array:
    inside = TARGETS.clip(LEAST_TARGET, 1 - LEAST_TARGET)
    yes, no = OWN**0.5 * inside**2, (1 - OWN) ** 0.5 * (1 - inside) ** 2
    return entropy(yes / (yes + no), OWN)


def by_reverse_kl() -> Array:
    inside = TARGETS.clip(LEAST_TARGET, 1 - LEAST_TARGET)
    return np.asarray(rel_entr(OWN, inside) + rel_entr(1 - OWN, 1 - inside))


def by_window() -> Array:
    return np.where(np.abs(OWN - 0.5) <= 0.2, entropy(TARGETS, OWN), 0)


FORMULAS: dict[str, tuple[Callable[[], Array], dict[str, float]]] = {
    "xent": (by_xent, {}),
    "logconf": (by_logconf, {"c": 0.3, "warmup": 0.0}),
    "product": (by_product, {"alpha": 2.0, "beta": 0.5, "warmup": 0.0}),
    "reverse_kl": (by_reverse_kl, {}),
    "window": (by_window, {"radius": 0.2}),
}


def tensors(requires_grad: bool = False) -> tuple[Any, Any]:
    logits = torch.tensor(LOGITS, dtype=torch.float32, requires_grad=requires_grad)
    return logits, torch.tensor(TARGETS, dtype=torch.float32)


def test_every_loss_has_its_formula_here() -> None:
    assert set(FORMULAS) == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_formula_of_its_paper(name: str) -> None:
    formula, parameters = FORMULAS[name]
    ours = Loss.of(name, parameters).per_item(*tensors(), progress=1.0)
    assert ours.shape == (64,)
    np.testing.assert_allclose(ours.numpy(), formula(), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_takes_what_stands_in_the_target_as_a_constant(name: str) -> None:
    parameters = FORMULAS[name][1]
    logits, targets = tensors(requires_grad=True)
    Loss.of(name, parameters).per_item(logits, targets, progress=1.0).sum().backward()
    scores = LOGITS[:, 1] - LOGITS[:, 0]
    own = expit(scores)
    inside = TARGETS.clip(LEAST_TARGET, 1 - LEAST_TARGET)
    odds = np.log(inside / (1 - inside))
    aims = {
        "xent": TARGETS,
        "window": TARGETS,
        "logconf": 0.7 * TARGETS + 0.3 * (own > np.quantile(own, 1 - TARGETS.mean())),
        "product": expit(0.5 * scores + 2 * odds),
    }
    if name == "reverse_kl":
        expected = own * (1 - own) * (scores - odds)
    else:
        expected = (own - aims[name]) * (np.abs(own - 0.5) <= (0.2 if name == "window" else 1))
    np.testing.assert_allclose(logits.grad[:, 1].numpy(), expected, atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(logits.grad[:, 0].numpy(), -expected, atol=2e-5, rtol=1e-4)


def test_what_is_warmed_up_begins_at_nothing_and_is_whole_at_its_share_of_the_training() -> None:
    plain = Loss.of("xent").per_item(*tensors(), progress=0.0)
    began = Loss.of("logconf", {"c": 0.5, "warmup": 0.5}).per_item(*tensors(), progress=0.0)
    torch.testing.assert_close(began, plain)
    half = Loss.of("logconf", {"c": 0.5, "warmup": 0.5}).per_item(*tensors(), progress=0.25)
    torch.testing.assert_close(
        half, Loss.of("logconf", {"c": 0.25, "warmup": 0.0}).per_item(*tensors(), progress=0)
    )
    for name in ("logconf", "product"):
        warm, whole = Loss.of(name, {"warmup": 0.5}), Loss.of(name, {"warmup": 0.0})
        at_half = warm.per_item(*tensors(), progress=0.5)
        torch.testing.assert_close(at_half, whole.per_item(*tensors(), progress=0.0))
        torch.testing.assert_close(at_half, warm.per_item(*tensors(), progress=0.9))


def test_a_given_threshold_takes_the_place_of_the_batchs_own() -> None:
    logits, targets = tensors()
    loss = Loss.of("logconf", {"c": 0.5, "warmup": 0.0})
    threshold = threshold_of(logits, float(TARGETS.mean()))
    assert float(threshold) == pytest.approx(np.quantile(OWN, 1 - TARGETS.mean()), abs=1e-6)
    whole = loss.per_item(logits, targets, progress=1.0)
    part = loss.per_item(logits[:8], targets[:8], progress=1.0, threshold=threshold)
    torch.testing.assert_close(part, whole[:8])


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_is_infinite_for_logits_in_bf16_that_are_sure_and_wrong(name: str) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], dtype=torch.bfloat16, requires_grad=True)
    losses = Loss.of(name).per_item(logits, torch.tensor([1.0, 0.0]), progress=1.0)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()
