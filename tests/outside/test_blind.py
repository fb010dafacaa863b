"""The evaluator of a study without sandboxes: asked for its secret at the close, and for nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from aar.formats.commitments import commit_secret, commit_split
from aar.outside.evaluation.blind import AskedToRun, do, opening

SECRET = bytes(range(32))


class Told:
    """Takes what is posted."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, Any]] = []

    def post(self, verb: str, payload: Any) -> dict[str, Any]:
        self.posts.append((verb, payload))
        return {}


@pytest.mark.parametrize("what", ["run", "open"])
def test_it_runs_and_opens_nothing_whoever_asks(what: str) -> None:
    gateway = Told()
    with pytest.raises(AskedToRun, match=f"asks to {what}"):
        do(gateway, SECRET, {"do": what})  # type: ignore[arg-type]
    assert gateway.posts == []


def test_what_it_reveals_at_the_close_is_what_it_committed_to() -> None:
    gateway, told = Told(), opening("digits", SECRET)
    do(gateway, SECRET, {"do": "nothing"})  # type: ignore[arg-type]
    do(gateway, SECRET, {"do": "close"})  # type: ignore[arg-type]
    ((verb, material),) = gateway.posts
    assert verb == "/v1/close-material"
    assert commit_secret(bytes.fromhex(material["seed_secret"])) == told["commitments"]["seed_secret"]
    split = commit_split(material["split_nonce"], material["sealed"])
    assert split == told["commitments"]["split"]
