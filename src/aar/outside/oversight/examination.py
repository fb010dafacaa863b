"""Examining a deployment: the facts of a review, from files, keys and live probes; nothing is believed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey, parse_skey, parse_vkey
from aar.formats.policy import least_quorum, parse_policy
from aar.formats.tile import TILE_WIDTH, entries_path
from aar.outside.oversight.facts import (
    AnchorFacts,
    Facts,
    RecordFacts,
    ReviewerFacts,
    TamperProbe,
    WitnessFacts,
)
from aar.outside.oversight.terms import terms_as_body
from aar.outside.projection import Projection
from aar.outside.record.anchors.anchor import Anchor, AnchorError, AnchorRefused
from aar.outside.record.anchors.directory import FOLDERS, is_append_only
from aar.outside.record.anchors.opening import open_anchor
from aar.outside.record.anchors.s3 import S3Anchor
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_file import LOCAL_WITNESS, AnchorSpec, StudyFile
from aar.verify.anchor import AnchorCheck, NotAnAnchor
from aar.verify.reader import NotARecord, RecordReader
from aar.verify.report import Report
from aar.verify.study import verify_log

# Of a larger log no copy is made to try a changed byte on.
MAX_COPIED_BYTES = 64 << 20
# A private key is looked for in files of the study up to this size, wherever in them it stands.
MAX_SEARCHED_BYTES = 1 << 20
_PRIVATE_KEY = re.compile(rb"PRIVATE\+KEY\+[!-*,-~]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}")

# A whole verification against copies in these directories.
Verify = Callable[[Sequence[Path]], Report]


def is_this_machine(host: str) -> bool:
    """Whether a host's name leads to an address of this machine; a name that leads nowhere does not."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    return any(_is_ours(family, address) for family, _type, _protocol, _name, address in found)


def _is_ours(family: int, address: Any) -> bool:
    """Only an address of one's own can be bound to."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address[0], 0, *address[2:]))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How the world beyond this process is asked: a test hands in its own."""

    open_anchor: Callable[[dict[str, Any]], Anchor] = open_anchor
    is_here: Callable[[str], bool] = is_this_machine


def examine_plan(
    study_file: StudyFile,
    *,
    subject: str,
    doctor: DoctorReport,
    reviewer: ReviewerFacts | None,
    problems: Sequence[str],
    now_ms: int,
    reach: Reach = Reach(),
) -> Facts:
    """The facts of a study that is not there yet: its file, the sandbox and the anchors it names."""
    anchors = [_probed(spec, None, reach)[1] for spec in study_file.anchors]
    others = [
        WitnessFacts(name=one.name, where=one.url, is_key_here=False, is_here=reach.is_here(_host(one.url)))
        for one in study_file.witnesses
    ]
    local = WitnessFacts(name=LOCAL_WITNESS, where="the study directory", is_key_here=True, is_here=True)
    return Facts(
        subject=subject,
        now_ms=now_ms,
        doctor=doctor,
        study_file=study_file,
        record=None,
        anchors=anchors,
        anchors_needed=study_file.anchors_needed,
        witnesses=[local, *others],
        quorum=study_file.quorum,
        reviewers=[] if reviewer is None else [reviewer],
        problems=problems,
    )


def examine_study(
    directory: Path,
    study_file: StudyFile | None,
    *,
    subject: str,
    doctor: DoctorReport,
    verify: Verify,
    policy: bytes,
    problems: Sequence[str],
    now_ms: int,
    seen_before: int = 0,
    reach: Reach = Reach(),
) -> Facts:
    """The facts of a study that has a record; `verify` judges it, together with what its anchors hold."""
    opening = _opening(directory)
    with tempfile.TemporaryDirectory(prefix="aar-review-") as scratch:
        anchors, copies = _anchors(directory, opening, study_file, policy, Path(scratch), reach)
        report = verify([path for path in copies.values() if path is not None])
    held = iter(report.anchors)
    entries = {name: next(held, {}).get("entries") for name, path in copies.items() if path is not None}
    bare = Facts(
        subject=subject,
        now_ms=now_ms,
        doctor=doctor,
        study_file=study_file,
        record=RecordFacts(
            report=report, tamper=TamperProbe(is_noticed=None, detail="the record does not hold")
        ),
        problems=problems,
    )
    if report.verdict != "ok":
        return bare
    leaves = list(RecordReader(directory / "record").entries(report.tree_size))
    body: Any = leaves[0].signed.entry.body
    quorum = min(least_quorum(parse_policy(policy.decode("utf-8"))), body["quorum"])
    keys = _private_keys(directory)
    return replace(
        bare,
        record=RecordFacts(
            report=report,
            leaves=leaves,
            projection=Projection.of(leaves),
            tamper=try_changed_byte(directory, policy),
            seen_before=seen_before,
        ),
        anchors=[replace(one, entries=entries.get(one.name)) for one in anchors],
        anchors_needed=body["anchors_needed"],
        witnesses=_witnesses(body, study_file, keys, reach),
        quorum=quorum,
        reviewers=_reviewers(body, keys),
        differences=_differences(body, study_file),
        unread=_unread(directory),
    )


def _opening(directory: Path) -> Any:
    """The first entry's body as it lies there, unchecked; what is concluded from it is verified after."""
    try:
        return next(RecordReader(directory / "record").entries()).signed.entry.body
    except (NotARecord, FormatError, OSError, StopIteration):
        return {}


# Anchors.


def _anchors(
    directory: Path,
    opening: Any,
    study_file: StudyFile | None,
    policy: bytes,
    scratch: Path,
    reach: Reach,
) -> tuple[list[AnchorFacts], dict[str, Path | None]]:
    """The anchors that the record names, tried; and where a copy of what each holds lies, if there is one."""
    specs = {(one.name, one.kind, one.where): one for one in (study_file.anchors if study_file else ())}
    found, copies = [], {}
    for told in opening.get("anchors", ()):
        name, kind, where = str(told["name"]), str(told["kind"]), str(told["where"])
        spec = specs.get((name, kind, where))
        if spec is None:
            detail = "the study file does not say how to reach it"
            found.append(
                AnchorFacts(
                    name=name, kind=kind, where=where, outcome="not-run", detail=detail, is_here=False
                )
            )
            continue
        store, facts = _probed(spec, directory, reach)
        found.append(replace(facts, lock_ends_ms=_lock_ends_ms(store)))
        copies[name] = _copy_of(spec, store, policy, directory, scratch / name)
    return found, copies


def _probed(spec: AnchorSpec, study: Path | None, reach: Reach) -> tuple[S3Anchor | None, AnchorFacts]:
    """One anchor after its promise was tried, where it makes one; and the store that answered, if any did."""
    facts = AnchorFacts(
        name=spec.name, kind=spec.kind, where=spec.where, outcome="refused", detail="", is_here=True
    )
    if spec.kind != "s3":
        return None, replace(facts, detail=who_can_edit(Path(spec.path), study))
    facts = replace(
        facts,
        is_here=reach.is_here(_host(spec.endpoint) or f"s3.{spec.region}.amazonaws.com"),
        retain_days=spec.retain_days,
    )
    try:
        store = reach.open_anchor(asdict(spec))
    except AnchorRefused as error:
        return None, replace(facts, outcome="not-run", detail=str(error))
    assert isinstance(store, S3Anchor)
    try:
        return store, replace(facts, outcome="held", detail=store.probe())
    except AnchorRefused as error:
        return store, replace(facts, detail=str(error))


def _lock_ends_ms(store: S3Anchor | None) -> int | None:
    """As the store says: the study file can be edited after its record was opened."""
    if store is None:
        return None
    try:
        ends = store.oldest_lock_ends()
    except AnchorError:
        return 0
    return 0 if ends is None else int(ends.timestamp() * 1000)


def who_can_edit(path: Path, study: Path | None) -> str:
    """Why files in a directory are not out of the operator's reach, as far as the file system tells."""
    if not path.is_dir():
        return "there is no such directory here yet, and its owner can edit it"
    if study is not None and path.resolve().is_relative_to(study.resolve()):
        return "it lies in the study's own directory"
    said = "its owner can edit and remove files"
    folders = [path / name for name in FOLDERS]
    if all(folder.is_dir() and is_append_only(folder) for folder in folders):
        said = "append-only, an attribute that root of this machine takes off"
    if study is not None and path.stat().st_dev == study.stat().st_dev:
        said += "; it is on the file system of the record"
    return said


def _copy_of(
    spec: AnchorSpec, store: S3Anchor | None, policy: bytes, directory: Path, out: Path
) -> Path | None:
    """A directory with what the anchor holds of this log; `None` where there is none to be had."""
    path = Path(spec.path)
    if spec.kind == "s3":
        try:
            if store is None or not store.fetch(out):
                return None
        except AnchorError:
            return None
        path = out
    try:
        AnchorCheck(path, parse_policy(policy.decode("utf-8")), directory / "record")
    except (NotAnAnchor, FormatError, UnicodeDecodeError):
        return None
    return path


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


# Keys.


def _private_keys(directory: Path) -> list[tuple[str, VerifierKey]]:
    """The public half of every private key that stands in a study's directory, and the path where it does."""
    found = []
    # The record is public, and what does not belong in it the verifier names.
    tops = [path for path in sorted(directory.iterdir()) if path.name != "record"]
    for path in (*tops, *(one for top in tops if top.is_dir() for one in sorted(top.rglob("*")))):
        if not path.is_file():
            continue
        try:
            data = path.read_bytes() if path.stat().st_size <= MAX_SEARCHED_BYTES else b""
        except OSError:
            continue
        for text in _PRIVATE_KEY.findall(data):
            with suppress(FormatError):
                found.append((str(path.relative_to(directory)), parse_skey(text.decode("ascii")).vkey))
    return found


def _unread(directory: Path) -> list[str]:
    """Folders of the study that this user may not look into: what lies there was not seen."""
    folders = (path for path in sorted(directory.iterdir()) if path.is_dir())
    return [path.name for path in folders if not os.access(path, os.R_OK | os.X_OK)]


def _witnesses(
    body: Any, study_file: StudyFile | None, keys: Sequence[tuple[str, VerifierKey]], reach: Reach
) -> list[WitnessFacts]:
    urls = {one.vkey: one.url for one in (study_file.witnesses if study_file else ())}
    held = {key.public_key for _path, key in keys}
    authors = {parse_vkey(one["vkey"]).public_key for one in body["keys"]}
    authors.add(parse_vkey(body["log"]).public_key)
    found = []
    for vkey in body["witnesses"]:
        key, url = parse_vkey(vkey), urls.get(vkey, "")
        found.append(
            WitnessFacts(
                name=key.name,
                where=url or "the study directory",
                is_key_here=key.public_key in held,
                is_here=not url or reach.is_here(_host(url)),
                is_author=key.public_key in authors,
            )
        )
    return found


def _reviewers(body: Any, keys: Sequence[tuple[str, VerifierKey]]) -> list[ReviewerFacts]:
    """The reviewers that the record enrols; a key that lies where a service works decides for nobody."""
    found = []
    for one in body["keys"]:
        if one["role"] != "reviewer":
            continue
        point = parse_vkey(one["vkey"]).public_key
        places = [path for path, key in keys if key.public_key == point]
        trouble = f"the private key lies with the services, in {', '.join(places)}" if places else ""
        found.append(ReviewerFacts(name=one["name"], cite="entry 0", trouble=trouble))
    return found


def _differences(body: Any, study_file: StudyFile | None) -> list[str]:
    """What the study file says otherwise than the record, by its key: the record's word counts."""
    if study_file is None:
        return []
    anchors = [{"name": one.name, "kind": one.kind, "where": one.where} for one in study_file.anchors]
    pairs = (
        ("study.problem", study_file.problem, body["problem"]),
        ("study.researchers", study_file.researchers, len(body["researchers"])),
        ("study.submissions", study_file.submissions, body["budget"]["submissions"]),
        ("study.heldout", list(study_file.heldout), [one["name"] for one in body["heldout"]]),
        ("study.quorum", study_file.quorum, body["quorum"]),
        # The first is the local one, which no file names.
        ("witness", [one.vkey for one in study_file.witnesses], body["witnesses"][1:]),
        ("anchor", anchors, body["anchors"]),
        ("study.anchors", study_file.anchors_needed, body["anchors_needed"]),
        ("limits", study_file.limits_of(body["researchers"]), body["limits"]),
        ("oversight", terms_as_body(study_file.oversight), body["oversight"]),
    )
    return [key for key, given, has in pairs if given != has]


# The tamper probe.


def try_changed_byte(directory: Path, policy: bytes) -> TamperProbe:
    """Change the last byte of the newest entries in a copy of the log that holds, and ask the verifier."""
    with tempfile.TemporaryDirectory(prefix="aar-tamper-") as scratch:
        try:
            newest = _copy_log(directory / "record", Path(scratch) / "record")
        except (OSError, shutil.Error, NotARecord) as error:
            return TamperProbe(is_noticed=None, detail=f"no copy could be made: {error}")
        if newest is None:
            return TamperProbe(is_noticed=None, detail=f"the log is larger than {MAX_COPIED_BYTES >> 20} MiB")
        before = verify_log(Path(scratch), policy=policy, pause=lambda _s: None)
        if before.verdict != "ok":
            # A record that was written to meanwhile: noticing something in it would prove nothing.
            return TamperProbe(is_noticed=None, detail=f"the copy was {before.verdict} as it was made")
        data = bytearray(newest.read_bytes())
        data[-1] ^= 1
        newest.chmod(0o600)
        newest.write_bytes(data)
        after = verify_log(Path(scratch), policy=policy, pause=lambda _s: None)
    if after.verdict != "tampered":
        return TamperProbe(is_noticed=False, detail=f"verify said {after.verdict} of changed entries")
    first = after.findings[0]
    return TamperProbe(
        is_noticed=True, detail=f"{first.code} at entry {first.first_index} of a copy with one byte changed"
    )


def _copy_log(source: Path, copy: Path) -> Path | None:
    """The newest bundle of entries in a copy of a log; `None` for one that is too large to copy."""
    sizes = (path.stat().st_size for path in (source / "tile").rglob("*") if path.is_file())
    if sum(sizes) > MAX_COPIED_BYTES:
        return None
    copy.mkdir()
    shutil.copy(source / "checkpoint", copy / "checkpoint")
    shutil.copytree(source / "tile", copy / "tile")
    size = RecordReader(copy).size()
    index = (size - 1) // TILE_WIDTH
    return copy / entries_path(index, size - index * TILE_WIDTH)
