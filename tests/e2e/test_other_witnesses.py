"""A whole study whose record a witness of somebody else cosigns, over TCP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from aar.formats.cosignature import cosigned_at
from aar.formats.note import parse_note
from aar.formats.policy import parse_policy
from small_study import TINY, Commands
from witness.served import served

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def with_witness(vkey: str, port: int, quorum: str = "") -> str:
    table = f'name = "{vkey.split("+")[0]}"\nvkey = "{vkey}"\nurl = "http://127.0.0.1:{port}"\n'
    return TINY.replace("\n\n[[task]]", f"\n{quorum}\n\n[[witness]]\n{table}\n[[task]]", 1)


def test_a_study_waits_for_its_witness_and_goes_on_when_that_knows_the_log(tmp_path: Path):
    """The way to set it up: the witness's key into the study file, the study's policy to the witness."""
    commands, port = Commands(tmp_path), free_port()
    vkey = commands.run("witness", "vkey", "--state", "w").stdout.strip()
    study_file = commands.study_file(with_witness(vkey, port))
    first = commands.run("run", study_file, "--dir", "study")
    assert first.returncode == 5, first.stderr
    assert "has 1 cosignatures, want 2" in first.stderr
    assert "does not answer" in first.stderr
    policy = parse_policy((tmp_path / "study" / "policy").read_text())
    assert [name for name, _key in policy.witnesses] == ["witness-local", vkey.split("+")[0]]
    assert (policy.groups[0].threshold, policy.quorum) == (2, "witnesses")
    where = ("--policy", str(tmp_path / "study" / "policy"))
    with served(tmp_path / "w", [], *where, listen=f"127.0.0.1:{port}") as witness:
        done = commands.run("run", "--dir", "study")
        assert done.returncode == 0, done.stderr
        opened = commands.entries("study", "--kind", "study-opened")[0]["body"]
        assert opened["quorum"] == 2
        assert opened["witnesses"][1] == vkey
        note = parse_note((tmp_path / "study" / "record" / "checkpoint").read_bytes())
        assert all(cosigned_at(note, key) for _name, key in policy.witnesses)
        assert commands.run("verify", "study").returncode == 0
        # What the witness remembers is what is published.
        kept = next((tmp_path / "w" / "state").glob("*/checkpoint")).read_bytes()
        assert parse_note(kept).text == note.text
        assert witness.vkey == policy.witnesses[1][1]
    # A study keeps the witnesses it was opened with.
    stored = tmp_path / "study" / "study.toml"
    text = stored.read_text()
    stored.write_text(text.replace("quorum = 2", "quorum = 1"))
    refused = commands.run("task", "study", "add", "--name", "more", "--title", "more")
    assert refused.returncode == 2, refused.stderr
    assert "a study keeps the witnesses it was opened with" in refused.stderr
    stored.write_text(text)


def test_a_witness_beyond_the_quorum_may_be_down(tmp_path: Path):
    commands = Commands(tmp_path)
    vkey = commands.run("witness", "vkey", "--state", "w").stdout.strip()
    study_file = commands.study_file(with_witness(vkey, free_port(), "quorum = 1"))
    done = commands.run("run", study_file, "--dir", "study")
    assert done.returncode == 0, done.stderr
    assert commands.run("verify", "study").returncode == 0
