"""A deployment to review: a forged record that verifies, a study file, a store that locks, real probes."""

from __future__ import annotations

import hashlib
import time
import tomllib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import forge as forgery
from aar.formats.canonical import format_canonical
from aar.formats.keys import Signer
from aar.lab.problems import PROBLEMS
from aar.outside.oversight.examination import Reach, examine_plan, examine_study
from aar.outside.oversight.facts import Facts, ReviewerFacts
from aar.outside.oversight.memo import Memo, memo_of
from aar.outside.oversight.terms import parse_terms, terms_as_body
from aar.outside.record.anchors.opening import open_anchor
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_file import StudyFile, parse_study
from aar.verify.report import Report
from aar.verify.study import verify_study

STUDY = """
[study]
name = "forged"
problem = "digits"
researchers = 2
submissions = 5
{study}
{tables}
[[task]]
task = "walk"
title = "walk"
workflow = "free"
direction = "onwards"
submissions = 3

[[task]]
task = "search"
title = "search"
workflow = "free"
direction = "onwards"
submissions = 2
"""
# What a store on somebody else's machine would be: no test can reach one.
ELSEWHERE = Reach(is_here=lambda _host: False)
ADA = ReviewerFacts(name="ada", cite="key reviewer")


def vault(endpoint: str, prefix: str, *, retain_days: int = 365) -> str:
    return (
        f'\n[[anchor]]\nname = "vault"\nkind = "s3"\nbucket = "vault"\nprefix = "{prefix}/"\n'
        f'region = "us-east-1"\nendpoint = "{endpoint}"\nretain_days = {retain_days}\n'
    )


def mirror(path: Path) -> str:
    return f'\n[[anchor]]\nname = "copy"\nkind = "mirror"\npath = "{path}"\n'


def file_of(*tables: str, study: str = "") -> StudyFile:
    text = STUDY.format(tables="".join(tables), study=study)
    return parse_study(text, source="forged.toml", problems=tuple(PROBLEMS))


def record_of(file: StudyFile, report: DoctorReport) -> forgery.Forge:
    """A closed study that holds and says what the file says; nothing is held out."""
    forge = forgery.honest()
    forge.drop("receipt-elsewhere", "reveal-elsewhere-public", "reveal-elsewhere-sealed")
    del forge.runs["elsewhere"]
    for run in forge.runs.values():
        run.problem = file.problem
    for draft in forge.drafts:
        if isinstance(draft.body, dict) and draft.body.get("problem") == "masks":
            draft.body["problem"] = file.problem
    attested = format_canonical({key: str(value) for key, value in report.attestation.items()})
    opened = forge["opened"].body
    opened["heldout"] = []
    opened["anchors"] = [{"name": one.name, "kind": one.kind, "where": one.where} for one in file.anchors]
    opened["anchors_needed"] = file.anchors_needed
    opened["oversight"] = terms_as_body(file.oversight)
    opened["sandbox"] |= {"backend": "bubblewrap", "digest": hashlib.sha256(attested).hexdigest()}
    return forge


@dataclass
class Deployment:
    """Alter file, record or report, then `review`; `spoil` alters the directory once it is written."""

    directory: Path
    report: DoctorReport
    file: StudyFile
    forge: forgery.Forge
    witness: Signer = forgery.WITNESS
    is_written_through: bool = True
    spoil: Callable[[Path], None] = field(default=lambda _directory: None)

    def put(self) -> None:
        """Write the record through to the store, as it is now."""
        leaves = self.forge.leaves()
        for spec in self.file.anchors:
            if spec.kind == "s3":
                store = open_anchor(asdict(spec))
                store.put_entries(0, len(leaves), forgery.tree_hash(leaves), lambda a, b: leaves[a:b])
                store.put_published(len(leaves), self._checkpoint(leaves), lambda _old: ())

    def _checkpoint(self, leaves: list[bytes]) -> bytes:
        return forgery.checkpoint(leaves, witnesses=[self.witness])

    def facts(self) -> Facts:
        leaves = self.forge.leaves()
        files = self.forge.files(leaves)
        files["record/checkpoint"] = files[forgery.WITNESS_STATE] = self._checkpoint(leaves)
        forgery.write(self.directory, files)
        if self.is_written_through:
            self.put()
        self.spoil(self.directory)
        now_ms = time.time_ns() // 1_000_000

        def verify(anchors: Sequence[Path]) -> Report:
            return verify_study(self.directory, anchors=anchors, now_ms=now_ms, pause=lambda _s: None)

        return examine_study(
            self.directory,
            self.file,
            subject="forged",
            doctor=self.report,
            verify=verify,
            policy=(self.directory / "policy").read_bytes(),
            problems=tuple(PROBLEMS),
            now_ms=now_ms,
            reach=ELSEWHERE,
        )

    def review(self) -> Memo:
        return memo_of(self.facts())


def facts_of_plan(
    file: StudyFile,
    report: DoctorReport,
    *,
    reviewer: ReviewerFacts | None = ADA,
    reach: Reach = ELSEWHERE,
) -> Facts:
    return examine_plan(
        file,
        subject="forged.toml",
        doctor=report,
        reviewer=reviewer,
        problems=tuple(PROBLEMS),
        now_ms=time.time_ns() // 1_000_000,
        reach=reach,
    )


def with_tables(facts: Facts, *tables: str) -> Facts:
    """The same deployment, with these tables in its study file and, where there is one, in its record."""
    assert facts.study_file is not None
    terms = parse_terms(tomllib.loads("".join(tables)).get("oversight"), "[oversight]")
    record = facts.record
    if record is not None:
        projection = copy(record.projection)
        projection.opened = {**projection.opened, "oversight": terms_as_body(terms)}
        record = replace(record, projection=projection)
    return replace(facts, study_file=replace(facts.study_file, oversight=terms), record=record)


def codes(memo: Memo) -> list[str]:
    return [one.code for one in memo.refusals]


def holding(memo: Memo) -> list[str]:
    return [one.says for one in memo.not_checked if one.holds]
