"""Published test vectors of others, in a directory that AAR_VECTORS names: they are data of theirs, not ours.

`inclusion/`, `consistency/` (transparency-dev/merkle), `note_open.json`, `vkeys.json` (golang.org/x/mod),
`checkpoint_body.json`, `policy_formats.json` (transparency-dev/formats), `tile_paths.json` (tessera),
`witness_add_checkpoint.json` (torchwood, sunlight). Where we differ, the difference is listed here with its
reason, and a test fails when the list is no longer exact.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.errors import FormatError
from aar.formats.keys import COSIGNATURE, ED25519, Signer, VerifierKey, format_vkey, parse_vkey
from aar.formats.note import parse_note, verified_by
from aar.formats.policy import parse_policy
from aar.formats.tile import TILE_WIDTH, TilePath, parse_tile_path
from aar.verify.merkle import InvalidProof, check_consistency, check_inclusion
from aar.witness.witness import Seen, add_checkpoint

VECTORS = Path(os.environ.get("AAR_VECTORS", ""))

pytestmark = pytest.mark.skipif(
    "AAR_VECTORS" not in os.environ, reason="AAR_VECTORS names no directory of published vectors"
)


def read(name: str) -> Any:
    return json.loads((VECTORS / name).read_text("utf-8"))


def proofs(kind: str) -> list[Any]:
    found = [json.loads(file.read_text("utf-8")) for file in sorted((VECTORS / kind).rglob("*.json"))]
    assert len(found) > 50
    return found


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def is_refused(act: Callable[[], object], *errors: type[Exception]) -> bool:
    try:
        act()
    except errors:
        return True
    return False


def hashes(one: Any) -> Sequence[bytes]:
    return [raw(text) for text in one["proof"] or []]


def test_every_published_inclusion_proof_is_judged_as_published():
    for one in proofs("inclusion"):
        arguments = (
            raw(one["leafHash"]),
            one["leafIdx"],
            one["treeSize"],
            hashes(one),
            raw(one["root"]),
        )
        assert is_refused(lambda got=arguments: check_inclusion(*got), InvalidProof) == one["wantErr"], one


def test_every_published_consistency_proof_is_judged_as_published():
    for one in proofs("consistency"):
        arguments = (one["size1"], one["size2"], hashes(one), raw(one["root1"]), raw(one["root2"]))
        assert is_refused(lambda got=arguments: check_consistency(*got), InvalidProof) == one["wantErr"], one


NOTE_DIFFERENCES = {
    # We are given one key twice: there is nothing to confuse it with.
    "duplicated verifier used": "accepted",
    # x/mod drops the second line. Here one key cannot stand twice, so that no quorum counts it twice.
    "duplicates dropped": "refused",
}


def test_every_published_note_is_opened_or_refused_as_published():
    differing = {}
    for one in read("note_open.json"):
        try:
            keys = [parse_vkey(text) for text in one["vkeys"]]
            opened = verified_by(parse_note(base64.b64decode(one["msg_b64"])), keys)
        except FormatError:
            if one["expect"] == "ok":
                differing[one["name"]] = "refused"
            continue
        if one["expect"] != "ok":
            differing[one["name"]] = "accepted"
        else:
            assert sorted([key.name, key.key_id.hex()] for key in opened) == sorted(one["verified"]), one
    assert differing == NOTE_DIFFERENCES


def test_every_published_verifier_key_is_read_or_refused_as_published():
    keys = read("vkeys.json")
    for text in keys["good_ed25519"] + keys["good_cosig"]:
        assert format_vkey(parse_vkey(text)) == text
    # What others read although its key id is not its own is refused here.
    for text in keys["bad"] + keys["lenient_hash_mismatch"]:
        if not text.startswith("PRIVATE"):
            assert is_refused(lambda got=text: parse_vkey(got), FormatError), text


CHECKPOINT_DIFFERENCES = {
    # Their roots are words such as "banana". RFC 6962 has SHA-256: 32 bytes.
    "valid one",
    "valid with different origin",
    # C2SP tlog-checkpoint: extension lines are not recommended; no cosignature of type 6 covers them.
    "valid with trailing data",
    "valid with multiple trailing data lines",
    "valid with trailing newlines",
}


def test_published_checkpoint_texts_are_judged_as_published_but_for_short_roots_and_extension_lines():
    differing = set()
    for one in read("checkpoint_body.json"):
        if is_refused(lambda got=one: parse_checkpoint_text(got["body"]), FormatError) != one["wantErr"]:
            differing.add(one["desc"])
    assert differing == CHECKPOINT_DIFFERENCES


def test_the_valid_published_checkpoint_text_is_read_once_its_root_has_32_bytes():
    lines = read("checkpoint_body.json")[0]["body"].split("\n")
    root = bytes(range(32))
    lines[2] = base64.b64encode(root).decode()
    assert parse_checkpoint_text("\n".join(lines)).root == root


def test_every_published_tile_path_is_written_and_read_as_published():
    vectors = read("tile_paths.json")
    for one in vectors["paths"]:
        level = None if one["level"] == "entries" else one["level"]
        tile = TilePath(level, one["index"], one["p"] or TILE_WIDTH)
        assert tile.path == one["path"]
        assert parse_tile_path(one["path"]) == tile
    for one in vectors["parse"]:
        path = f"tile/{one['level']}/{one['index']}"
        assert is_refused(lambda got=path: parse_tile_path(got), FormatError) == one["wantErr"], one


def test_published_bad_policies_are_refused_and_so_are_good_ones_for_their_comments_and_double_keys():
    vectors = read("policy_formats.json")
    for text in vectors["bad"]:
        assert is_refused(lambda got=text: parse_policy(got), FormatError), text
    # All of them begin with an empty line and name no log: another subset of the format than ours.
    for text in vectors["good"]:
        assert text.startswith("\n")
        assert "\nlog " not in text
        assert is_refused(lambda got=text: parse_policy(got), FormatError), text


def status_differences(requests: Sequence[Any], log: VerifierKey) -> dict[int, tuple[int, int]]:
    """Number of the request: (status that was published, ours)."""
    signer = Signer("witness.example", bytes(32), COSIGNATURE)
    seen: dict[str, Seen] = {}
    differing = {}
    for number, one in enumerate(requests):
        answer = add_checkpoint(
            one["body"].encode(), logs={log.name: log}, seen=seen, signer=signer, now_s=1_700_000_000
        )
        if answer.seen is not None:
            seen[answer.origin] = answer.seen
        if answer.status != one["status"]:
            differing[number] = (one["status"], answer.status)
    return differing


# 2: an unknown origin was 403 until 2025; it is 404 now.
WITNESS_DIFFERENCES = {
    "torchwood_2025": {2: (403, 404)},
    "sunlight_2026": {},
}


@pytest.mark.parametrize("sequence", WITNESS_DIFFERENCES)
def test_a_witness_answers_every_published_request_as_published(sequence: str):
    vectors = read("witness_add_checkpoint.json")
    log = VerifierKey(vectors["origin"], ED25519, bytes.fromhex(vectors["ed25519_pub_hex"]))
    assert status_differences(vectors[sequence], log) == WITNESS_DIFFERENCES[sequence]
