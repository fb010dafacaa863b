"""The modelled evaluator: answers are drawn from a method's modelled accuracy, all else is the real thing.

Seeds follow from the committed secret, items are dealt by the verifier's rules, the release rule is the
evaluator's own, receipts are signed, commitments are opened at the end, and `verify_study` derives it again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aar.formats.commitments import commit_payload, commit_secret, commit_split, payload_nonce, split_nonce
from aar.formats.entry import SignedEntry
from aar.formats.kinds import HALVES
from aar.outside.evaluation.release import opened_numbers, release
from aar.outside.gateway.staff_desk import EvaluatorDesk, Staff
from aar.simulation.choosing import Method, Problem
from aar.simulation.parameters import SEEDS, UNIT, ProblemClass
from aar.simulation.problems import accuracy_at
from aar.simulation.stream import Stream
from aar.verify.payload import Payload, SplitCounts, format_payload
from aar.verify.splits import Deal, Pool, seeds_for

DRAWS = 40
TAUGHT = 8
PAYLOAD_TYPE = "application/vnd.aar.payload+json"
Sign = Callable[[str, dict[str, Any], tuple[int, ...]], SignedEntry]


def pool_of(kind: ProblemClass) -> Pool:
    """A pool that leaves `kind.items` items to test in each half."""
    if kind.is_fresh:
        return Pool(
            items=0, sealed=kind.items, labelled=TAUGHT, unlabelled=TAUGHT, tested=2 * kind.items, group=1
        )
    items = 2 * (kind.items + TAUGHT)
    return Pool(items=items, sealed=kind.items, labelled=TAUGHT, unlabelled=TAUGHT, tested=0, group=1)


class Marks:
    """Which items student, teacher, ceiling and plain student get right, drawn from their accuracies."""

    def __init__(self, problem: Problem, secret: bytes) -> None:
        self.problem, self.pool = problem, pool_of(problem.kind)
        self._secret = secret
        self._deal = Deal(secret, self.pool)

    def run(
        self, *, true: int, digest: str, label: str, halves: Sequence[str] = HALVES
    ) -> dict[str, Payload]:
        """The exact values of an official run of a method of that true PGR, by half."""
        seeds = seeds_for(self._secret, label, digest, SEEDS)
        return {
            half: Payload(
                half,
                self.pool.width,
                tuple(self._split(half, seed, true) for seed in seeds),
                self.pool.is_fresh,
            )
            for half in halves
        }

    def _split(self, half: str, seed: int, true: int) -> SplitCounts:
        kind = self.problem.kind
        tested = self._deal.tested_mask(half, seed, 0)
        # A run's seeds follow from its method and its tier: no two runs have one in common.
        stream = Stream("marks", self.problem.seed, self.problem.number, half, seed)
        accuracies = (accuracy_at(kind, true), kind.weak, kind.weak + kind.gap, accuracy_at(kind, kind.base))
        student, weak, ceiling, vanilla = (
            _mask(stream.flips(self.pool.width, accuracy)) & tested for accuracy in accuracies
        )
        return SplitCounts(seed, 0, tested, student, weak, ceiling, vanilla)


def _mask(marks: npt.NDArray[np.bool_]) -> int:
    """Marks as an integer, bit i is item i."""
    return int.from_bytes(np.packbits(marks, bitorder="little").tobytes(), "little")


class ModelledEvaluator:
    """Does the jobs that the evaluator's desk gives out."""

    def __init__(
        self, staff: Staff, desk: EvaluatorDesk, problem: Problem, secret: bytes, sign: Sign
    ) -> None:
        self._staff, self._desk, self._secret, self._sign = staff, desk, secret, sign
        self._problem = problem
        self._marks = Marks(problem, secret)
        self._payloads: dict[tuple[str, str, str], bytes] = {}

    def work(self) -> None:
        """Do what there is to do, until there is nothing."""
        while (job := self._desk.work({}, {}))["do"] != "nothing":
            if job["do"] == "run":
                self._run(job)
            elif job["do"] == "open":
                for one in job["receipts"]:
                    self._open(one)
            else:
                self._desk.take_close_material(close_material(self._secret, self._marks.pool), {})

    def _run(self, job: Mapping[str, Any]) -> None:
        tier, digest = job["tier"], job["digest"]
        method = Method.parse(json.loads(job["snapshot"])["files"]["config.json"])
        payloads = self._marks.run(true=self._problem.true_value(method), digest=digest, label=tier)
        commitments = {}
        for half, payload in payloads.items():
            data = format_payload(payload)
            self._payloads[digest, tier, half] = data
            nonce = payload_nonce(self._secret, half=half, label=tier, digest=digest)
            commitments[half] = commit_payload(
                half=half, nonce=nonce, payload_sha256=hashlib.sha256(data).hexdigest()
            )
        released: dict[str, Any] = {}
        if tier == "explore":
            released = release(payloads["public"], job["released"], draws=DRAWS, group=1)
        body = {
            "submission": job["submission"],
            "digest": digest,
            "researcher": job["researcher"],
            "tier": tier,
            "problem": job["problem"],
            "outcome": "scored",
            "reason": "",
            "seeds": list(seeds_for(self._secret, tier, digest, SEEDS)),
            "released": released,
            "commitments": commitments,
        }
        self._hand_in(self._sign("score-receipt", body, (job["submission"],)))

    def _open(self, job: Mapping[str, Any]) -> None:
        digest, tier, half = job["digest"], job["tier"], job["half"]
        data = self._payloads[digest, tier, half]
        body = {
            "receipt": job["receipt"],
            "half": half,
            "nonce": payload_nonce(self._secret, half=half, label=tier, digest=digest),
            "blob": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "type": PAYLOAD_TYPE},
            **opened_numbers(
                data, draws=DRAWS if job["has_interval"] else 0, group=1, compares=job["has_difference"]
            ),
        }
        self._hand_in(self._sign("score-revealed", body, (job["receipt"],)), data)

    def _hand_in(self, signed: SignedEntry, *blobs: bytes) -> None:
        told = {
            "entry": base64.b64encode(signed.data).decode(),
            "blobs": [base64.b64encode(one).decode() for one in blobs],
        }
        self._staff.take_entry(told, who="evaluator")


def close_material(secret: bytes, pool: Pool) -> dict[str, str]:
    """What `study-closed` reveals: the secret, the nonce of the split's commitment, the sealed items."""
    mask = Deal(secret, pool).sealed_mask.to_bytes((pool.width + 7) // 8, "little")
    return {
        "seed_secret": secret.hex(),
        "split_nonce": split_nonce(secret),
        "sealed": base64.b64encode(mask).decode(),
    }


def commitments(secret: bytes, pool: Pool) -> dict[str, str]:
    """What `study-opened` commits to."""
    material = close_material(secret, pool)
    return {
        "seed_secret": commit_secret(secret),
        "split": commit_split(material["split_nonce"], material["sealed"]),
    }


def baselines(kind: ProblemClass) -> dict[str, str]:
    """The class's stated accuracies, as `study-opened` has them."""
    stated = {
        "weak": kind.weak,
        "ceiling": kind.weak + kind.gap,
        "gap": kind.gap,
        "se": 50,
        "vanilla": kind.base,
        "spread": 1_000,
    }
    return {name: decimal(value) for name, value in stated.items()}


def decimal(units: int) -> str:
    """A value in 1/10,000 as the record writes it."""
    return f"{'-' if units < 0 else ''}{abs(units) // UNIT}.{abs(units) % UNIT:04d}"


def units(text: str) -> int:
    """The value in 1/10,000 of a decimal with four places."""
    sign = -1 if text.startswith("-") else 1
    whole, _, part = text.lstrip("-").partition(".")
    return sign * (int(whole) * UNIT + int(part.ljust(4, "0")))
