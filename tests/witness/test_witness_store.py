"""What a witness keeps: durable before it is answered, and not believed unless it verifies."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from aar.formats.keys import COSIGNATURE, Signer, format_skey, format_vkey, parse_skey
from aar.verify.merkle import root_of
from aar.witness.store import WitnessHalted, WitnessStore, replace_durably
from aar.witness.witness import Seen, add_checkpoint
from witness.log_of_a_test import LEAVES, LOG, ORIGIN, WITNESS, checkpoint, request

LOGS = {ORIGIN: LOG.vkey}


def seen_at(size: int, signer: Signer = WITNESS) -> Seen:
    answer = add_checkpoint(request(0, [], checkpoint(size)), logs=LOGS, seen={}, signer=signer, now_s=7)
    assert answer.seen is not None
    return answer.seen


def seed_of(number: int) -> bytes:
    return bytes([7]) * number


def no_randomness(_number: int) -> bytes:
    raise AssertionError("a key exists: no new one is made")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once(tmp_path: Path):
    store = WitnessStore(tmp_path)
    signer = store.load_or_create_key("witness-local", seed_of)
    assert signer == Signer("witness-local", bytes([7]) * 32, COSIGNATURE)
    assert store.load_or_create_key("witness-local", no_randomness) == signer
    assert (tmp_path / "witness.key").read_text() == format_skey(signer) + "\n"
    assert (tmp_path / "witness.vkey").read_text() == format_vkey(signer.vkey) + "\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["witness.key", "witness.vkey"]


def test_the_key_is_for_nobody_else_and_its_public_half_for_all(tmp_path: Path):
    before = os.umask(0)
    try:
        WitnessStore(tmp_path).load_or_create_key("witness-local", seed_of)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "witness.key") == 0o600
    assert mode_of(tmp_path / "witness.vkey") == 0o644


def test_a_lost_public_half_is_written_again(tmp_path: Path):
    store = WitnessStore(tmp_path)
    signer = store.load_or_create_key("witness-local", seed_of)
    (tmp_path / "witness.vkey").unlink()
    store.load_or_create_key("witness-local", no_randomness)
    assert (tmp_path / "witness.vkey").read_text() == format_vkey(signer.vkey) + "\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a private key"),
        (format_skey(WITNESS).encode()[:-4], "want a type of 1 or 4"),
        (format_skey(WITNESS).encode() + b"\n\n", "its name or base64 is malformed"),
        (b"\xff" + format_skey(WITNESS).encode(), "not ASCII"),
        (format_skey(LOG).encode(), "not a cosignature key"),
    ],
)
def test_a_malformed_key_halts_the_witness_and_stays(tmp_path: Path, data: bytes, why: str):
    path = tmp_path / "witness.key"
    path.write_bytes(data)
    with pytest.raises(WitnessHalted, match=why):
        WitnessStore(tmp_path).load_or_create_key("witness-local", no_randomness)
    assert path.read_bytes() == data
    assert not (tmp_path / "witness.vkey").exists()


def test_what_was_saved_is_loaded(tmp_path: Path):
    store = WitnessStore(tmp_path)
    assert store.load(LOGS, WITNESS.vkey) == {}
    for size in (3, 4):
        seen = seen_at(size)
        store.save(ORIGIN, seen)
        assert WitnessStore(tmp_path).load(LOGS, WITNESS.vkey) == {ORIGIN: seen}
    assert seen.root == root_of(LEAVES[:4])


def test_the_state_lies_where_the_specification_of_monitoring_has_it(tmp_path: Path):
    WitnessStore(tmp_path).save(ORIGIN, seen_at(3))
    path = tmp_path / "state" / hashlib.sha256(ORIGIN.encode()).hexdigest() / "checkpoint"
    assert path.read_bytes() == seen_at(3).note
    assert mode_of(path) == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no empty line before the signatures"),
        (seen_at(3).note[:-1], "does not end"),
        (seen_at(3).note.replace(b"\n3\n", b"\n4\n"), "not over this text"),
        (checkpoint(3), "not cosigned by witness-local"),
        (seen_at(3, Signer("witness-local", bytes(32), COSIGNATURE)).note, "not cosigned by witness-local"),
        (seen_at(3).note.replace(b"\n3\n", b"\n03\n"), "not over this text"),
        (
            checkpoint(3, more=[WITNESS.cosign("another\n", 7)]),
            "signature of witness-local is not over this text",
        ),
    ],
)
def test_a_state_that_does_not_verify_halts_the_witness(tmp_path: Path, data: bytes, why: str):
    store = WitnessStore(tmp_path)
    store.save(ORIGIN, Seen(note=data))
    with pytest.raises(WitnessHalted, match=why):
        store.load(LOGS, WITNESS.vkey)


def test_a_log_the_witness_no_longer_knows_is_left_alone(tmp_path: Path):
    store = WitnessStore(tmp_path)
    store.save("log.example/9", Seen(note=b"whatever"))
    assert store.load(LOGS, WITNESS.vkey) == {}


class Calls:
    """Which files were made durable, in order."""

    def __init__(self, patch: pytest.MonkeyPatch, fail_at: str = "") -> None:
        self.seen: list[str] = []
        self._fail_at = fail_at
        fsync, rename, mkdir = os.fsync, os.rename, os.mkdir

        def note(call: str) -> None:
            self.seen.append(call)
            if call == fail_at:
                raise OSError(5, "Input/output error")

        def noted_fsync(descriptor: int) -> None:
            note(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
            fsync(descriptor)

        def noted_rename(source: Any, target: Any) -> None:
            note(f"rename {Path(source).name} {Path(target).name}")
            rename(source, target)

        def noted_mkdir(path: Any, *arguments: Any, **named: Any) -> None:
            note(f"mkdir {Path(path).name}")
            mkdir(path, *arguments, **named)

        patch.setattr(os, "fsync", noted_fsync)
        patch.setattr(os, "rename", noted_rename)
        patch.setattr(os, "mkdir", noted_mkdir)


def test_saving_syncs_the_file_then_its_name_then_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digest = hashlib.sha256(ORIGIN.encode()).hexdigest()
    calls = Calls(monkeypatch)
    store = WitnessStore(tmp_path)
    store.save(ORIGIN, seen_at(3))
    written = ["fsync .checkpoint.tmp", "rename .checkpoint.tmp checkpoint", f"fsync {digest}"]
    assert calls.seen == ["mkdir state", f"fsync {tmp_path.name}", f"mkdir {digest}", "fsync state", *written]
    calls.seen.clear()
    store.save(ORIGIN, seen_at(4))
    assert calls.seen == written


@pytest.mark.parametrize("call", ["fsync .checkpoint.tmp", "rename .checkpoint.tmp checkpoint"])
def test_a_save_that_fails_is_an_error_and_leaves_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    store = WitnessStore(tmp_path)
    store.save(ORIGIN, seen_at(3))
    with monkeypatch.context() as patch:
        Calls(patch, fail_at=call)
        with pytest.raises(OSError, match="Input/output error"):
            store.save(ORIGIN, seen_at(4))
    assert store.load(LOGS, WITNESS.vkey) == {ORIGIN: seen_at(3)}
    # What was left behind does not stop the next one.
    store.save(ORIGIN, seen_at(4))
    assert store.load(LOGS, WITNESS.vkey) == {ORIGIN: seen_at(4)}


def test_a_replaced_file_gets_its_mode_whatever_was_there(tmp_path: Path):
    path = tmp_path / "witness.key"
    (tmp_path / ".witness.key.tmp").write_bytes(b"left behind, longer than the new content")
    (tmp_path / ".witness.key.tmp").chmod(0o666)
    replace_durably(path, b"secret", mode=0o600)
    assert path.read_bytes() == b"secret"
    assert mode_of(path) == 0o600


def test_two_witnesses_do_not_share_a_state(tmp_path: Path):
    held = WitnessStore(tmp_path).lock()
    with pytest.raises(WitnessHalted, match="another witness uses this state; end it first"):
        WitnessStore(tmp_path).lock(timeout_s=0)
    os.close(held)
    os.close(WitnessStore(tmp_path).lock(timeout_s=0))


def test_a_predecessor_that_is_ending_is_waited_for(tmp_path: Path):
    held = WitnessStore(tmp_path).lock()
    ending = threading.Timer(0.1, os.close, [held])
    ending.start()
    os.close(WitnessStore(tmp_path).lock(timeout_s=30))
    ending.join()


def test_a_key_on_disk_is_a_private_key_of_the_format(tmp_path: Path):
    signer = WitnessStore(tmp_path).load_or_create_key("witness-local", seed_of)
    assert parse_skey((tmp_path / "witness.key").read_text().removesuffix("\n")) == signer
