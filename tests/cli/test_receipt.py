"""`aar receipt`: taken from public files, checked without them, and each exit status has its cause."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from aar.cli.main import main
from aar.formats.policy import Policy, format_policy
from aar.formats.proof import format_proof, parse_proof
from aar.outside.record.disk import Disk
from record.world import LOG, LocalWitness, World, entries


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a record of nine entries and its policy; the user's config is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    Path("study").mkdir()
    world = World(Disk(), public=Path("study/record"))
    sequencer = world.open()
    sequencer.append(entries(0, 9))
    sequencer.publish()
    sequencer.close()
    policy = Policy.with_one_witness(LOG.vkey, "local", world.witnesses[0].vkey)
    Path("policy").write_text(format_policy(policy))
    return tmp_path


@pytest.fixture
def held(study: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["receipt", "get", "study", "7", "--out", "seven"]) == 0
    assert capsys.readouterr().out == "entry 7 is in seven\n"
    return Path("seven")


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["receipt", "check", *arguments])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_a_receipt_holds_when_the_record_is_gone(held: Path, capsys: pytest.CaptureFixture[str]):
    shutil.rmtree("study")
    status, out, _err = check(capsys, "seven", "--policy", "policy")
    assert status == 0
    assert "entry     7 of 9: comment by researcher-1, received 2023-11-14T22:13:20Z\n" in out
    assert out.endswith("witness   local, 2023-11-14T22:13:20Z\nOK: the entry is in the log\n")
    status, out, _err = check(capsys, "seven", "--policy", "policy", "--json")
    told = json.loads(out)
    assert (status, told["verdict"], told["index"], told["size"]) == (0, "ok", 7, 9)
    assert told["cosigned_s"] == {"local": 1_700_000_000}


def test_without_out_the_receipt_itself_is_printed(held: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["receipt", "get", "study", "7"]) == 0
    assert capsys.readouterr().out.encode() == held.read_bytes()


def test_a_pinned_policy_is_used_when_none_is_given(held: Path, capsys: pytest.CaptureFixture[str]):
    status, _out, err = check(capsys, "seven")
    assert (status, "was never verified here; give its policy" in err) == (2, True)
    from aar.cli.config import Pins

    Pins(LOG.name).remember(
        policy=Path("policy").read_bytes(),
        checkpoint=parse_proof(held.read_bytes()).checkpoint,
        bookmark=b"",
    )
    assert check(capsys, "seven")[0] == 0


def test_a_receipt_of_another_entry_is_refused(held: Path, capsys: pytest.CaptureFixture[str]):
    main(["receipt", "get", "study", "6", "--out", "six"])
    capsys.readouterr()
    six, seven = parse_proof(Path("six").read_bytes()), parse_proof(held.read_bytes())
    Path("mixed").write_bytes(
        format_proof(type(seven)(seven.index, seven.hashes, seven.checkpoint, six.extra))
    )
    status, out, _err = check(capsys, "mixed", "--policy", "policy")
    assert (status, out.split(":")[0]) == (1, "REPLAY")
    assert out.endswith("REFUSED: the receipt does not hold\n")
    status, out, _err = check(capsys, "mixed", "--policy", "policy", "--json")
    assert (status, json.loads(out)["code"]) == (1, "REPLAY")


def test_a_receipt_without_the_quorum_is_refused(held: Path, capsys: pytest.CaptureFixture[str]):
    policy = Policy.with_one_witness(LOG.vkey, "other", LocalWitness(2).vkey)
    Path("policy").write_text(format_policy(policy))
    status, out, _err = check(capsys, "seven", "--policy", "policy")
    assert (status, out.split(":")[0]) == (1, "POLICY")


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "is not a receipt"), (b"hello\n", "is not a receipt"), (b"\xff" * 99, "is not a receipt")],
)
def test_what_is_no_receipt_cannot_be_judged(
    study: Path, capsys: pytest.CaptureFixture[str], data: bytes, why: str
):
    Path("file").write_bytes(data)
    status, out, err = check(capsys, "file", "--policy", "policy")
    assert (status, out, err.count("\n"), why in err) == (2, "", 1, True)
    status, out, _err = check(capsys, "file", "--policy", "policy", "--json")
    assert (status, json.loads(out)["verdict"]) == (2, "cannot-judge")


def test_a_file_that_is_too_large_or_not_there_is_said(held: Path, capsys: pytest.CaptureFixture[str]):
    assert "no such file" in check(capsys, "none", "--policy", "policy")[2]
    assert "no such file" in check(capsys, "seven", "--policy", "none")[2]
    with held.open("ab") as file:
        os.truncate(file.fileno(), 1 << 22)
    status, _out, err = check(capsys, "seven", "--policy", "policy")
    assert (status, "too large" in err) == (2, True)


def test_the_policy_of_another_log_cannot_judge(held: Path, capsys: pytest.CaptureFixture[str]):
    from aar.formats.keys import Signer

    other = Signer("log.example/1", bytes(32))
    Path("policy").write_text(format_policy(Policy.with_one_witness(other.vkey, "w", LocalWitness().vkey)))
    status, _out, err = check(capsys, "seven", "--policy", "policy")
    assert (status, "is for log log.example/1" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("study", "9"), "9 entries are published, numbered from 0"),
        (("study", "-1x"), "want the index of an entry"),
        (("study", "07"), "want the index of an entry"),
        (("nowhere", "0"), "is not a study"),
        (("study", "7", "--out", "seven"), "it exists; name a new file"),
    ],
)
def test_what_cannot_be_got_is_said_in_one_line(
    held: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], why: str
):
    before = held.read_bytes()
    words = arguments if not arguments[1].startswith("-") else (arguments[0], "--", arguments[1])
    assert main(["receipt", "get", *words]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n"), why in told.err) == ("", 1, True)
    assert held.read_bytes() == before
