"""`claims`: is a claim about a small world true? Asked of a small transformer's hidden states.

A Llama of 89,792 parameters was trained on texts about a world of 288 facts (`claims_world`,
tools/pretrain_claims.py). Its hidden states at a claim's full stop are the strong features, standardised over
all claims, without labels (so the setting is transductive). The weak teacher is a logistic regression on the
words of a claim but for the entity: it knows that hedged claims are false more often, and which values are
common, and errs in the same way wherever these mislead. In the hidden states truth is one salient direction
and hedging another. The student of a split is tested on facts that neither it nor its teacher saw.

`claims-ue` adds what the model itself would respond, for studies that allow unsupervised elicitation.
Bench code: it holds the labels, and the language-model head that knows them nearly as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from aar.lab.errors import MalformedWeights
from aar.lab.instance import STUDENT_L2, Floats, Probabilities
from aar.lab.llama import Llama
from aar.lab.probe import sigmoid
from aar.lab.problems import claims_world as world
from aar.lab.problems.problem import Sizes, Taught, check_split
from aar.lab.problems.teachers import CLIP, VOTERS, Parts, taught_linearly

DATA = Path(__file__).resolve().parents[1] / "data"
MODEL_DIRECTORY = DATA / "claims-llama"
FEATURES_FILE = DATA / "claims-features.npy"

WIDTH = 64
TEACHER_L2 = 1e-2
SEALED_FACTS = 72
SIZES = Sizes(
    pool=world.FACTS * world.CLAIMS_PER_FACT,
    features=WIDTH,
    sealed=SEALED_FACTS * world.CLAIMS_PER_FACT,
    labelled=400,
    unlabelled=2_000,
    group=world.CLAIMS_PER_FACT,
)
# What the weak teacher reads of a claim.
READ_BY_TEACHER = (world.HEDGE_AT, world.RELATION_AT, world.VALUE_AT)
STATEMENT = (
    "Binary classification with a weak teacher. You never see true labels or test items. A method is a "
    "directory with method.py defining predict(instance, rng) -> P(y = 1) for instance.test_x; "
    "instance.train_x are strong features [2000, 64] (float32, standardised): hidden states of a small "
    "language model that read claims about a world it knows; y is whether the claim is true. instance.weak "
    "are the weak teacher's P(y = 1), who sees words but not what they are about; instance.votes [n, K] the "
    "same of several teachers, instance.class_prior the weak teacher's share of ones. aar.lab is importable. "
    "An official run draws fresh splits under seeds that nobody picks, and tests on facts that no training "
    "claim is about; the score is the performance gap recovered between weak teacher (0) and the same "
    "student with true labels (1). You are told a score only when it beats your best one by more than 0.05."
)
STATEMENT_UE = STATEMENT + (
    " Unsupervised elicitation is allowed: instance.zero_shot are the language model's own P(yes) after each "
    "training and each test claim."
)


class Claims:
    """The problem with its labels; with `is_elicited` the model's own answers too."""

    sizes = SIZES
    student_l2 = STUDENT_L2

    def __init__(self, *, is_elicited: bool = False) -> None:
        self.statement = STATEMENT_UE if is_elicited else STATEMENT
        self._is_elicited = is_elicited
        self._tokens, self._y = world.pool()

    @cached_property
    def features(self) -> Floats:
        """Standardised hidden states [6048, 64], without labels; `MalformedWeights` if the file is cut."""
        try:
            stored = np.load(FEATURES_FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise MalformedWeights(f"{FEATURES_FILE}: {error}; install the package again") from error
        if stored.shape != (SIZES.pool, WIDTH) or stored.dtype != np.float16:
            raise MalformedWeights(
                f"{FEATURES_FILE}: {stored.dtype} {stored.shape}, want float16 {(SIZES.pool, WIDTH)}; "
                "run tools/pretrain_claims.py"
            )
        features: Floats = stored.astype(np.float32)
        return features

    @property
    def digest(self) -> str:
        """Hex SHA-256 over features, claims, labels and this construction's parameters."""
        parameters = (self._is_elicited, SIZES, TEACHER_L2, READ_BY_TEACHER, STUDENT_L2, CLIP, VOTERS)
        parts = (
            f"claims/v1 {parameters}\n".encode(),
            self.features.astype("<f4").tobytes(),
            self._tokens.astype("<i8").tobytes(),
            self._y.astype("u1").tobytes(),
            # With the features come the hidden states; the answers need the head as well.
            (MODEL_DIRECTORY / "model.safetensors").read_bytes() if self._is_elicited else b"",
        )
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def teach(
        self,
        seed: int,
        labelled: Sequence[int],
        unlabelled: Sequence[int],
        tested: Sequence[int],
        *,
        with_votes: bool = True,
    ) -> Taught:
        """Train the weak teacher and the ceiling of one split; about 10 ms of processor time."""
        check_split(SIZES.pool, labelled, unlabelled, tested)
        taught, train, test = (np.asarray(items, dtype=np.intp) for items in (labelled, unlabelled, tested))
        words, states = self._words, self.features
        return taught_linearly(
            Parts(labelled=words[taught], unlabelled=words[train], tested=words[test]),
            Parts(labelled=states[taught], unlabelled=states[train], tested=states[test]),
            (self._y[taught], self._y[train], self._y[test]),
            teacher_l2=TEACHER_L2,
            student_l2=STUDENT_L2,
            rng=np.random.default_rng(seed),
            with_votes=with_votes,
            zero_shot=(self._own_answers[train], self._own_answers[test]) if self._is_elicited else None,
        )

    @cached_property
    def _words(self) -> Floats:
        """One-hot [6048, 62] of the words that the weak teacher reads."""
        rows = np.arange(len(self._tokens))
        words = np.zeros((len(rows), world.VOCABULARY), dtype=np.float32)
        for position in READ_BY_TEACHER:
            words[rows, self._tokens[:, position]] = 1.0
        return words[:, words.any(axis=0)]

    @cached_property
    def _own_answers(self) -> Probabilities:
        """The model's P(yes) against P(no) after every claim, in either word; about 0.1 s."""
        model = Llama(MODEL_DIRECTORY)
        scores = model.logits(model.hidden(self._tokens)[:, world.DOT_AT]).astype(np.float64)
        yes = np.logaddexp(scores[:, world.YES1], scores[:, world.YES2])
        no = np.logaddexp(scores[:, world.NO1], scores[:, world.NO2])
        return sigmoid(yes - no)
