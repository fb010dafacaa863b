"""Commands of the pause: a reviewer stops the queue by hand, lifts what stopped it, answers an alarm."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aar.cli.failures import CommandFailed
from aar.cli.gate import enrolled_signer, gateway_of
from aar.cli.main import EXIT_OK
from aar.cli.output import say, say_json
from aar.cli.read import read_leaves
from aar.cli.safe_text import terminal_safe, typed
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
    """`aar resume`: lift the pause that holds."""
    study, projection = _open_study(options)
    if projection.paused < 0:
        raise CommandFailed(f"{study.path} is not paused: there is nothing to lift")
    body = {"pause": projection.paused, "reason": options.reason}
    told = f"the pause of entry {projection.paused} is lifted"
    return _sign(study, projection, options, "queue-resumed", body, (projection.paused,), told)


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
