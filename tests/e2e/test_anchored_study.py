"""A whole study that is written through to anchors, and what becomes of it when they do not hold."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from record.object_store import ObjectStore, serving
from small_study import TINY, Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


def with_anchors(*tables: str, study: str = "") -> str:
    text = "".join(f"\n[[anchor]]\n{table}\n" for table in tables)
    return TINY.replace("\n\n[[task]]", f"\n{study}\n{text}\n[[task]]", 1)


@pytest.fixture(scope="module")
def anchored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A finished study whose anchors are `vault` and `copy` beside it; who changes it leaves it whole."""
    commands = Commands(tmp_path_factory.mktemp("anchored"))
    vault, copy = commands.directory / "vault", commands.directory / "copy"
    study_file = commands.study_file(
        with_anchors(
            f'name = "vault"\nkind = "directory"\npath = "{vault}"',
            f'name = "copy"\nkind = "mirror"\npath = "{copy}"',
        )
    )
    done = commands.run("run", study_file, "--dir", "study")
    assert done.returncode == 0, done.stderr
    yield commands
    subprocess.run(["chattr", "-R", "-a", str(vault)], check=False, capture_output=True)


def test_a_study_is_written_through_and_an_edited_copy_parts_from_its_anchors(anchored: Commands) -> None:
    commands, vault, copy = anchored, anchored.directory / "vault", anchored.directory / "copy"
    opened = commands.entries("study", "--kind", "study-opened")[0]["body"]
    assert [one["where"] for one in opened["anchors"]] == [str(vault), str(copy)]
    assert opened["anchors_needed"] == 2
    assert "anchors: vault (directory), copy (mirror); 2 needed" in commands.run("status", "study").stdout
    assert "written through to vault, copy" in commands.run("verify", "study").stdout
    done = commands.run("verify", "study", "--anchor", str(vault), "--anchor", str(copy), "--json")
    report = json.loads(done.stdout)
    assert (report["verdict"], report["warnings"]) == ("ok", [])
    size = report["tree_size"]
    assert [(one["kind"], one["checkpoint"], one["entries"]) for one in report["anchors"]] == [
        ("write-once", size, size),
        ("mirror", size, size),
    ]
    # The record goes on after the close, and so do its anchors.
    finding = commands.entries("study", "--kind", "finding")[0]["index"]
    done = commands.run("review", "study", "refine", str(finding), "--note", "more")
    assert done.returncode == 0, done.stderr
    done = commands.run("verify", "study", "--anchor", str(vault), "--anchor", str(copy), "--json")
    assert json.loads(done.stdout)["anchors"][0]["entries"] == size + 1
    # A study keeps its anchors.
    stored = commands.directory / "study" / "study.toml"
    text = stored.read_text()
    stored.write_text(text.replace("anchors = 2", "anchors = 1"))
    refused = commands.run("review", "study", "refine", str(finding), "--note", "again")
    assert refused.returncode == 2, refused.stderr
    assert "a study keeps those it was opened with" in refused.stderr
    stored.write_text(text)


def test_a_study_with_an_anchor_that_is_lost_publishes_nothing_more(anchored: Commands) -> None:
    commands, copy = anchored, anchored.directory / "copy"
    published = commands.directory / "study" / "record" / "checkpoint"
    before = published.read_bytes()
    (copy / "checkpoint").unlink()
    os.mkdir(copy / "checkpoint")
    finding = commands.entries("study", "--kind", "finding")[0]["index"]
    done = commands.run("review", "study", "refine", str(finding), "--note", "more")
    assert done.returncode != 0
    assert "anchor copy" in done.stderr, done.stderr
    assert published.read_bytes() == before
    os.rmdir(copy / "checkpoint")
    done = commands.run("review", "study", "refine", str(finding), "--note", "more")
    assert done.returncode == 0, done.stderr
    assert commands.run("verify", "study", "--anchor", str(copy)).returncode == 0


@pytest.mark.parametrize("lies", [(), ("retention",)])
def test_a_locked_store_is_probed_first_and_its_first_versions_are_compared(
    tmp_path: Path, lies: tuple[str, ...]
) -> None:
    commands, store = Commands(tmp_path), ObjectStore(lies)
    store.make("vault", has_lock=True)
    with serving(store) as endpoint:
        table = (
            f'name = "vault"\nkind = "s3"\nbucket = "vault"\nprefix = "s/"\nregion = "us-east-1"\n'
            f'endpoint = "{endpoint}"\nretain_days = 1'
        )
        study_file = commands.study_file(with_anchors(table))
        refused = commands.run("run", study_file, "--dir", "study")
        assert refused.returncode != 0
        assert "set AWS_ACCESS_KEY_ID" in refused.stderr
        commands.environment |= {"AWS_ACCESS_KEY_ID": "w", "AWS_SECRET_ACCESS_KEY": "s"}
        done = commands.run("run", study_file, "--dir", "study")
        if lies:
            assert done.returncode != 0
            assert "does not hold what it locks; it let us shorten the retention" in done.stderr
            assert not (tmp_path / "study" / "record" / "checkpoint").exists()
            return
        assert done.returncode == 0, done.stderr
        key = next(key for key in store.buckets["vault"].objects if "/segment/" in key)
        store.put(store.buckets["vault"], key, b"forged", {})
        done = commands.run("anchor", "fetch", "study", "vault", "fetched")
        assert done.returncode == 0, done.stderr
    report = json.loads(commands.run("verify", "study", "--anchor", "fetched", "--json").stdout)
    assert [one["code"] for one in report["findings"]] == ["WORM_VERSIONS"]
    assert report["anchors"][0]["entries"] == report["tree_size"]


def test_only_an_s3_anchor_is_fetched_and_only_by_its_name(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    (tmp_path / "study").mkdir()
    text = with_anchors(f'name = "copy"\nkind = "mirror"\npath = "{tmp_path}/copy"')
    (tmp_path / "study" / "study.toml").write_text(text)
    for words, says in (
        (("study", "vault", "out"), "has no anchor 'vault'; it has: copy"),
        (("study", "copy", "out"), "is a directory: ./aar verify study --anchor"),
        (("none", "copy", "out"), "cannot be read"),
    ):
        done = commands.run("anchor", "fetch", *words)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
