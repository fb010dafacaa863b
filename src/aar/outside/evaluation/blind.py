"""The evaluator of a study without sandboxes: it opens no labels, runs nothing and scores nothing.

What researchers could read would be no secret, so there is none: no problem is taught, no baseline measured.
It commits to a secret of its own, because every study does, and reveals it at the close.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from aar.formats.commitments import commit_secret, commit_split, split_nonce
from aar.outside.staff_client import StaffClient
from aar.verify.splits import Deal, Pool

# Not the problem's: two items of nothing, so that the terms of a study have their shape.
_POOL = {"sealed": 1, "labelled": 1, "unlabelled": 1, "tested": 2, "group": 1}
_BASELINES = dict.fromkeys(("weak", "ceiling", "gap", "se", "vanilla", "spread"), "0")


class AskedToRun(Exception):
    """The gateway asked for a run or for values, which it never may in such a study."""


def opening(problem: str, secret: bytes) -> dict[str, Any]:
    """What `study-opened` says of the evaluator, in the shape of `Evaluator.opening`."""
    statement = (
        f"A study of {problem} without a sandbox (--backend bare): nothing that is handed in is run, and no "
        "labels are opened. For programs that are being debugged."
    )
    described = {
        "name": problem,
        "pool": 0,
        **_POOL,
        "digest": hashlib.sha256(f"aar-not-opened {problem}".encode()).hexdigest(),
        "statement": statement,
        "warnings": (),
    }
    return {
        "problems": {problem: described},
        "commitments": {
            "seed_secret": commit_secret(secret),
            "split": commit_split(split_nonce(secret), _sealed(secret)),
        },
        "baselines": {problem: _BASELINES},
    }


def work_forever(gateway: StaffClient, secret: bytes) -> None:
    """Wait for the close and reveal the secret; raises `AskedToRun` for anything else."""
    while True:
        do(gateway, secret, gateway.get("/v1/work", wait_s=20))


def do(gateway: StaffClient, secret: bytes, job: Mapping[str, Any]) -> None:
    """One job of the gateway's."""
    if job["do"] in ("run", "open"):
        raise AskedToRun(f"the gateway asks to {job['do']}, and this study has no sandbox and no labels")
    if job["do"] == "close":
        material = {
            "seed_secret": secret.hex(),
            "split_nonce": split_nonce(secret),
            "sealed": _sealed(secret),
        }
        gateway.post("/v1/close-material", material)


def _sealed(secret: bytes) -> str:
    pool = Pool(items=0, **_POOL)
    mask = Deal(secret, pool).sealed_mask
    return base64.b64encode(mask.to_bytes((pool.width + 7) // 8, "little")).decode()
