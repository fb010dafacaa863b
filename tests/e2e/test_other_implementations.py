"""A finished study's record before an implementation that is not ours."""

from __future__ import annotations

from typing import Any

import pytest

from aar.formats.keys import format_vkey
from aar.formats.policy import parse_policy
from aar.verify.reader import RecordReader
from programs import build_sumdb


@pytest.mark.slow
def test_sumdb_accepts_the_record_of_a_finished_study(
    finished: Any, tmp_path_factory: pytest.TempPathFactory
):
    sumdb = build_sumdb(tmp_path_factory.mktemp("sumdb"))
    log = parse_policy((finished.path / "policy").read_text("utf-8")).log
    said = sumdb.verified(format_vkey(log), finished.path / "record")
    assert said.startswith(f"entries {RecordReader(finished.path / 'record').size()} proofs 0 signatures ")
