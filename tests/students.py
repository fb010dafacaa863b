"""What the tests of fine-tuned students share: libraries or a reason to skip, a model, a task."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aar.lab.students.models import SMALL, Configured
from aar.lab.students.settings import HFConfig
from aar.lab.students.texts import Answers

LIBRARIES = ("torch", "transformers", "peft", "safetensors")
YES, NO = 2, 4
ANSWERS = Answers(no=NO, yes=YES)
SMALL_MODEL = Configured.of(SMALL, seed=1)


def need_libraries() -> None:
    """Skip the module where torch and its company are not installed; with AAR_HF=1 fail instead."""
    lacking = [name for name in LIBRARIES if find_spec(name) is None]
    if lacking and os.environ.get("AAR_HF") == "1":
        pytest.fail(f"no {', '.join(lacking)} here, and AAR_HF=1 leaves nothing out")
    if lacking:
        pytest.skip(
            f"no {', '.join(lacking)} here: see CONTRIBUTING.md, Fine-tuned students", allow_module_level=True
        )
    # One thread, as in a sandbox; sums in another order are other sums.
    import torch

    torch.set_num_threads(1)


def settings(**fields: Any) -> HFConfig:
    """Settings under which the small model learns in a second."""
    given: Mapping[str, Any] = {"device": "cpu", "rank": 8, "alpha": 16, "epochs": 2, "learning_rate": 5e-3}
    return HFConfig(**{**given, **fields})


def claims(count: int, seed: int) -> tuple[list[list[int]], NDArray[np.float64]]:
    """Rows of six tokens and their truth: whether the fifth is even."""
    rng = np.random.default_rng(seed)
    columns = [
        np.zeros(count, int),
        rng.integers(6, 9, count),
        rng.integers(10, 58, count),
        rng.integers(58, 70, count),
        rng.integers(70, 118, count),
        np.ones(count, int),
    ]
    rows = np.column_stack(columns)
    return rows.tolist(), (rows[:, 4] % 2 == 0).astype(np.float64)
