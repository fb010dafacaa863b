"""The verbs of a monitor that is a model: what there is to read, and what it says of what it read.

It thinks in the worker, which parses what strangers wrote: nothing that it says is believed. The gateway
looks up what an alarm names, bounds how many there are, and enters them in the monitor's name with the digest
of the reading that they come from. A hold is all that it can do to a submission; only a reviewer lifts one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from aar.formats.errors import FormatError
from aar.formats.kinds import FILE_NAME, HEX32, HOLDING, MODEL_ALARMS, MONITOR, UNREAD
from aar.outside.admission import Refused
from aar.outside.gateway.record_service import MAX_ALARMS_PER_KIND, Draft
from aar.outside.gateway.requests import fields, whole_number
from aar.outside.gateway.researcher_desk import Verb
from aar.outside.gateway.staff_desk import Staff, is_to_be_read
from aar.outside.gateway.worker_desk import WorkerDesk, charge_body, spent_alarm

# Of one answer, of one reading, of a whole study.
MOST_ENTRIES = 64
MOST_ALARMS = 16
MOST_READINGS = 5_000
MOST_EVIDENCE = 64
# An alarm has room for 8,000 characters of each; a reader has not.
WHAT_CHARACTERS, QUOTE_CHARACTERS = 2_000, 3_000
CODES = (*MODEL_ALARMS, UNREAD)


class MonitorDesk:
    """Serves the worker's monitor, on the worker's own socket."""

    def __init__(self, staff: Staff, worker: WorkerDesk) -> None:
        self._staff = staff
        self._service = staff.service
        self._worker = worker

    def verbs(self) -> Mapping[tuple[str, str], Verb]:
        return {
            ("GET", "/v1/unread"): self.unread,
            ("GET", "/v1/files"): self.files,
            ("POST", "/v1/reading"): self.reading,
        }

    def unread(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        """What researchers said and handed in from an index on, as much as one answer takes.

        `alone_pid`: the worker's process, when nothing but the monitor works in it any more. The answer says
        with `is_last` that it is to end when it has read what is left, it with `is_done` that it has.
        """
        self._check_there_is_one()
        since, alone_pid = whole_number(query, "since", 0), whole_number(query, "alone_pid", 0)
        with self._service.lock:
            projection = self._service.projection
            self._staff.alone_pid = alone_pid
            is_done = bool(whole_number(query, "is_done", 0))
            entries: list[dict[str, Any]] = []
            upto = projection.tree_size
            for leaf in self._service.leaves[since:]:
                if len(entries) >= MOST_ENTRIES:
                    upto = leaf.index
                    break
                entry = leaf.signed.entry
                if is_to_be_read(projection, leaf):
                    who = projection.holds.owners[leaf.index]
                    told = {"index": leaf.index, "researcher": who, "kind": entry.kind}
                    entries.append({**told, "body": dict(entry.body)})
            # What was said since it looked last is not read, whatever it says.
            self._staff.read_upto = upto if is_done and not entries else -1
            return {"entries": entries, "upto": upto, "is_last": self._staff.is_last_reading}

    def files(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        """The files of a submission, whoever's it is."""
        self._check_there_is_one()
        number = whole_number(query, "submission")
        with self._service.lock:
            submission = self._service.projection.submissions.get(number)
        if submission is None:
            raise Refused("no-submission", f"entry {number} is not a submission")
        data = self._staff.blobs.find(submission.body["digest"])
        return {"files": {} if data is None else dict(json.loads(data)["files"])}

    def reading(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Enter one reading: its digest with the calls that it took, its alarms, and what they hold."""
        wanted = fields(payload, researcher=str, file=str, sha256=str, bytes=int, alarms=list)
        told = {"name": wanted["file"], "sha256": wanted["sha256"], "size": wanted["bytes"]}
        self._check_there_is_one()
        try:
            FILE_NAME("file", wanted["file"])
            HEX32("sha256", wanted["sha256"])
        except FormatError as error:
            raise Refused("bad-request", str(error)) from error
        if len(wanted["alarms"]) > MOST_ALARMS:
            raise Refused("bad-request", f"{len(wanted['alarms'])} alarms, at most {MOST_ALARMS}")
        alarms = [_alarm(one) for one in wanted["alarms"]]
        # The worker's before the service's: calls that are told meanwhile are charged once.
        with self._worker.lock, self._service.lock:
            transcripts = self._service.projection.spending.transcripts
            known = transcripts.get((MONITOR, told["name"]))
            if known is not None:
                if dict(known) != told:
                    raise Refused("repeated", f"reading {told['name']} was told before, with another digest")
                return {"alarms": 0, "held": 0}
            if sum(who == MONITOR for who, _name in transcripts) >= MOST_READINGS:
                raise Refused("said-enough", f"there are {MOST_READINGS} readings: no more is taken")
            if self._staff.closing:
                raise Refused("study-closing", "the study is closing: no reading is taken any more")
            drafts = self._drafts(wanted["researcher"], told, alarms)
            self._service.append(drafts)
        kinds = Counter(one.kind for one in drafts)
        return {"alarms": kinds["alarm"], "held": kinds["submission-held"]}

    def _drafts(
        self, researcher: str, told: Mapping[str, Any], alarms: list[Mapping[str, Any]]
    ) -> list[Draft]:
        """The entries of a reading, all of them in one batch: a kill leaves all or none."""
        projection = self._service.projection
        if researcher not in projection.researchers:
            raise Refused("no-researcher", f"no researcher {researcher!r:.80}")
        charge = charge_body(projection, MONITOR, "", self._worker.waiting(MONITOR), [told])
        drafts = [Draft(author="gateway", kind="budget-charged", body=charge)]
        drafts += spent_alarm(projection, charge)
        at = projection.tree_size
        counts, held = Counter(projection.alarm_counts), set[str]()
        for one in alarms:
            strange = [each for each in one["evidence"] if projection.holds.owners.get(each) != researcher]
            if strange:
                raise Refused("evidence", f"{researcher} did not say or hand in entries {strange!r:.80}")
            holds = self._may_hold(one, held)
            counts[researcher, one["code"]] += 1
            # What holds is bounded by the submissions that there are.
            if not holds and counts[researcher, one["code"]] > MAX_ALARMS_PER_KIND:
                continue
            body = {
                "code": one["code"],
                "who": researcher,
                "what": one["what"][:WHAT_CHARACTERS],
                "evidence": one["evidence"],
                "attempt": f"{told['name']}: {one['quote'][:QUOTE_CHARACTERS]}",
            }
            index = at + len(drafts)
            # With the entry that has the reading's digest.
            refs = tuple(sorted({*one["evidence"], at}))
            drafts.append(Draft(author=MONITOR, kind="alarm", body=body, refs=refs))
            if holds:
                held.add(projection.holds.digests[one["hold"]])
                drafts.append(self._hold(one, index))
        return drafts

    def _may_hold(self, alarm: Mapping[str, Any], held: set[str]) -> bool:
        """Whether this alarm holds its submission: it is a grave one, the study's monitor may, and the method
        never was held.
        """
        holds, submission = self._service.projection.holds, alarm["hold"]
        if alarm["code"] != HOLDING or not holds.monitor["holds"] or submission not in holds.digests:
            return False
        digest = holds.digests[submission]
        return submission in alarm["evidence"] and digest not in holds.holds and digest not in held

    def _hold(self, alarm: Mapping[str, Any], index: int) -> Draft:
        submission = alarm["hold"]
        running = self._staff.begun(self._service.projection.holds.of_method(submission))
        body = {
            "submission": submission,
            "alarm": index,
            "reason": alarm["what"][:WHAT_CHARACTERS],
            "running": [{"submission": number, "run": run} for number, run in running][:256],
        }
        return Draft(author=MONITOR, kind="submission-held", body=body, refs=(submission, index))

    def _check_there_is_one(self) -> None:
        if MONITOR not in self._service.projection.spending.models:
            raise Refused("no-monitor", "this study has no monitor that is a model")


def _alarm(told: Any) -> Mapping[str, Any]:
    """An alarm as the worker tells it; `hold` is the submission that it would hold, or -1."""
    alarm = fields(told, code=str, what=str, quote=str, evidence=list, hold=int)
    if alarm["code"] not in CODES:
        raise Refused("bad-request", f"code {alarm['code']!r:.40}: want one of {', '.join(CODES)}")
    evidence = alarm["evidence"]
    if not all(type(one) is int for one in evidence) or len(set(evidence)) > MOST_EVIDENCE:
        raise Refused("bad-request", f"evidence: want at most {MOST_EVIDENCE} indexes of entries")
    if not alarm["what"].strip():
        raise Refused("bad-request", "what: want words for what was seen")
    return {**alarm, "evidence": sorted(set(evidence))}
