"""The transformer that the lab ships, fine-tuned: it judges claims about facts that LoRA did not teach it."""

from __future__ import annotations

from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from aar.lab.students.huggingface import HFClassifier
from aar.lab.students.models import Pretrained
from aar.lab.students.texts import Answers
from students import need_libraries, settings

need_libraries()
WEIGHTS = Path(str(resources.files("aar.lab"))) / "data" / "claims-llama"
if find_spec("aar.lab.problems.claims_world") is None or not WEIGHTS.is_dir():
    pytest.skip("the problem claims and its weights are not here", allow_module_level=True)

from aar.lab.problems import claims_world as world  # noqa: E402

FACTS_TAUGHT = 160


def test_the_shipped_transformer_tells_true_claims_from_false_before_and_after_lora_on_other_facts() -> None:
    claims, truth = world.pool()
    fact = np.arange(len(claims)) // world.CLAIMS_PER_FACT
    order = np.random.default_rng(0).permutation(world.FACTS)
    rng = np.random.default_rng(1)
    taught = rng.permutation(np.flatnonzero(np.isin(fact, order[:FACTS_TAUGHT])))[:800]
    tested = rng.permutation(np.flatnonzero(~np.isin(fact, order[:FACTS_TAUGHT])))[:500]
    student = HFClassifier[list[int]](
        Pretrained(str(WEIGHTS)), settings(learning_rate=2e-3), Answers(no=world.NO1, yes=world.YES1)
    )
    before = student.zero_shot(claims[tested].tolist())
    student.fit(claims[taught].tolist(), truth[taught].astype(np.float64), seed=1)
    after = student.predict(claims[tested].tolist())
    for answers in (before, after):
        assert ((answers > 0.5) == truth[tested]).mean() > 0.8
    losses = student.training.losses
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
