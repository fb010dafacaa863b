"""Commands of pauses and stops, of the queue or a researcher, by hand; and the answer to an alarm."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aar.cli.failures import CommandFailed
from aar.cli.gate import enrolled_signer, gateway_of
from aar.cli.main import EXIT_OK
from aar.cli.output import say, say_json
from aar.cli.read import read_leaves
from aar.cli.safe_text import terminal_safe, typed
from aar.formats.keys import Signer
from aar.outside.control_plane import operator_signer
from aar.outside.projection import Projection
from aar.outside.study_directory import StudyDirectory


def pause(options: argparse.Namespace) -> int:
    """`aar pause`: nothing is leased and nothing handed in until a reviewer lifts it."""
    study, projection = _open_study(options)
    if projection.paused >= 0:
        raise CommandFailed(
            f"{study.path} is paused already, since entry {projection.paused}; "
            f"./aar resume {typed(study.path)} --reason TEXT lifts it"
        )
    body = {
        "researcher": "",
        "signal": "",
        "value": "",
        "limit": "",
        "reason": options.reason,
        "evidence": [],
    }
    told = f"the queue is paused; ./aar resume {typed(study.path)} --reason TEXT lifts it"
    return _sign(study, projection, options, "queue-paused", body, (), told)


def resume(options: argparse.Namespace) -> int:
    """`aar resume`: lift the pause that holds, or the stop of one researcher."""
    study, projection = _open_study(options)
    if options.researcher is not None:
        stop = projection.stops.get(options.researcher)
        if stop is None:
            stopped = ", ".join(projection.stops) or "nobody"
            raise CommandFailed(f"{options.researcher} is not stopped: {stopped} is")
        lifted = {"pause": stop, "reason": options.reason}
        told = f"{options.researcher} may go on: the stop of entry {stop} is lifted"
        return _sign(study, projection, options, "queue-resumed", lifted, (stop,), told)
    if projection.paused < 0:
        stopped = f"; {', '.join(projection.stops)} is stopped: name a researcher" if projection.stops else ""
        raise CommandFailed(f"{study.path} is not paused: there is nothing to lift{stopped}")
    body = {"pause": projection.paused, "reason": options.reason}
    told = f"the pause of entry {projection.paused} is lifted"
    return _sign(study, projection, options, "queue-resumed", body, (projection.paused,), told)


def stop(options: argparse.Namespace) -> int:
    """`aar stop`: one researcher, or every one, is ended and gets nothing until a reviewer lets it go on."""
    study, projection = _open_study(options)
    names = [options.researcher] if options.researcher is not None else projection.researchers
    unknown = [one for one in names if one not in projection.researchers]
    if unknown:
        raise CommandFailed(
            f"there is no researcher {unknown[0]!r:.80}; there is: {', '.join(projection.researchers)}"
        )
    waiting = [one for one in names if one not in projection.stops]
    if not waiting:
        raise CommandFailed(
            f"{', '.join(names)} is stopped already; ./aar resume {typed(study.path)} {names[0]} "
            "--reason TEXT lifts it"
        )
    signer = _stopper(study, projection, options.key)
    acks = []
    with gateway_of(study, with_evaluator=False) as gateway:
        for name in waiting:
            body = {"researcher": name, "signal": "", "value": "", "limit": "", "reason": options.reason}
            acks.append(gateway.append([signer], "queue-paused", {**body, "evidence": []}))
    if options.json:
        say_json(acks)
        return EXIT_OK
    for name, ack in zip(waiting, acks, strict=True):
        say(terminal_safe(f"{name} is stopped (entry {ack['index']}, signed by {signer.name})"))
    say(f"./aar resume {typed(study.path)} RESEARCHER --reason TEXT lets one go on")
    return EXIT_OK


def _stopper(study: StudyDirectory, projection: Projection, key: str | None) -> Signer:
    """The reviewer's key where the study knows it, else the operator's, which lies in the study."""
    try:
        return enrolled_signer(projection, key)
    except CommandFailed:
        operator = study.operator / "operator.key"
        if key is not None or not os.access(operator, os.R_OK):
            raise
    return operator_signer(study)


def answer(options: argparse.Namespace, study: StudyDirectory, projection: Projection) -> int:
    """`aar review DIR answer N`: a reviewer's words on alarm or pause N; a limit asks for no other review."""
    asking = sorted({*(one["index"] for one in projection.alarms), *projection.pauses})
    if options.number not in asking:
        known = ", ".join(map(str, asking)) or "none"
        raise CommandFailed(f"entry {options.number} is neither an alarm nor a pause; there is: {known}")
    if not options.note.strip():
        raise CommandFailed("review answer wants --note TEXT: what was looked at, and what was found")
    body = {"on": options.number, "text": options.note}
    told = f"entry {options.number} is answered"
    return _sign(study, projection, options, "comment", body, (options.number,), told)


def release(options: argparse.Namespace, study: StudyDirectory, projection: Projection) -> int:
    """`aar review DIR release N`, or `keep-held N`: a reviewer's word on what the monitor holds."""
    hold = projection.holds.hold_on(options.number)
    if hold is None:
        held = [str(one.submission) for one in projection.holds.holds.values() if one.is_in_force]
        raise CommandFailed(f"entry {options.number} is not held; held is: {', '.join(held) or 'nothing'}")
    if not options.note.strip():
        raise CommandFailed(f"review {options.action} wants --note TEXT: what was looked at, and found")
    is_released = options.action == "release"
    body = {"submission": hold.submission, "released": int(is_released), "reason": options.note}
    told = f"submission {hold.submission} {'is let go' if is_released else 'stays held'}"
    return _sign(study, projection, options, "submission-released", body, (hold.submission,), told)


def _open_study(options: argparse.Namespace) -> tuple[StudyDirectory, Projection]:
    study = StudyDirectory(Path(options.dir))
    projection = Projection.of(read_leaves(study))
    if not options.reason.strip():
        raise CommandFailed("--reason TEXT: the record keeps why")
    if projection.closed:
        raise CommandFailed(f"{study.path} is closed: nothing is handed in any more")
    return study, projection


def _sign(
    study: StudyDirectory,
    projection: Projection,
    options: argparse.Namespace,
    kind: str,
    body: Mapping[str, Any],
    refs: tuple[int, ...],
    told: str,
) -> int:
    signer = enrolled_signer(projection, options.key)
    with gateway_of(study, with_evaluator=False) as gateway:
        ack = gateway.append([signer], kind, dict(body), refs=refs)
    if options.json:
        say_json(ack)
    else:
        say(terminal_safe(f"{told} (entry {ack['index']}, signed by {signer.name})"))
    return EXIT_OK
