"""The gateway process: ``python -m aar.outside.gateway --directory DIR --listen NAME=FD ...``."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aar.formats.keys import format_vkey, parse_vkey

# The monitor loads it when it reads the first pipeline: by then we may be a uid that reads no library.
from aar.lab import pipeline  # noqa: F401
from aar.outside.gateway.blobs import Blobs
from aar.outside.gateway.kept import Kept
from aar.outside.gateway.ledger import LEDGER, Ledger, LedgerUnusable
from aar.outside.gateway.meter import METER, Meter, MeterUnusable
from aar.outside.gateway.monitor_desk import MonitorDesk
from aar.outside.gateway.record_service import FrozenClock, RecordService
from aar.outside.gateway.researcher_desk import ResearcherDesk
from aar.outside.gateway.server import WORKER_CONNECTIONS, UnixServer, now_ms, serve_in_thread
from aar.outside.gateway.staff_desk import ControlDesk, EvaluatorDesk, Staff
from aar.outside.gateway.worker_desk import WorkerDesk
from aar.outside.keyring import Keyring
from aar.outside.monitor.monitor import Monitor
from aar.outside.record.anchors.anchor import AnchorRefused
from aar.outside.record.anchors.opening import open_anchor
from aar.outside.record.anchors.write_through import WriteThrough
from aar.outside.record.disk import Disk
from aar.outside.record.errors import DiskFull, RecordError, RecordInUse
from aar.outside.record.sequencer import Sequencer
from aar.outside.record.witness_client import Witness, WitnessClient, parse_witness_url
from aar.outside.service import EXIT_DISK_FULL, EXIT_HALTED, EXIT_REFUSED, enter, halt
from aar.outside.worker_process import AT_WORKER, WORKER

OTHER_GATEWAY_S = 5.0
# A quorum that is not met holds the record for so long; entries are taken between two tries.
OTHER_WITNESS_TIMEOUT_S = 3.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="aar.outside.gateway")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--origin", required=True)
    parser.add_argument("--listen", action="append", default=[], metavar="NAME=FD")
    parser.add_argument("--witness", required=True, metavar="VKEY")
    parser.add_argument("--witness-socket", required=True)
    parser.add_argument("--other-witness", nargs=2, action="append", default=[], metavar=("VKEY", "URL"))
    parser.add_argument("--quorum", type=int, default=1)
    parser.add_argument("--anchor", action="append", default=[], metavar="JSON")
    parser.add_argument("--anchors-needed", type=int, default=0)
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    try:
        # While we may: what a directory of ours lies below may be closed to the uid that we become.
        anchors = [open_anchor(json.loads(one)) for one in options.anchor]
    except (AnchorRefused, OSError) as error:
        halt(EXIT_REFUSED, str(error))
        raise
    enter(options.directory, uid=options.uid, lifeline_fd=options.lifeline_fd)
    keyring = Keyring(Path("gateway"), os.urandom)
    clock = FrozenClock(now_ms)
    witnesses: list[Witness] = [WitnessClient(parse_vkey(options.witness), options.witness_socket)]
    for vkey, url in options.other_witness:
        witnesses.append(
            WitnessClient(parse_vkey(vkey), parse_witness_url(url), timeout_s=OTHER_WITNESS_TIMEOUT_S)
        )
    try:
        for anchor in anchors:
            anchor.probe()
    except AnchorRefused as error:
        halt(EXIT_REFUSED, str(error))
        raise
    write_through = WriteThrough(anchors, options.anchors_needed, blobs=Path("record") / "blobs")
    try:
        sequencer = _open_when_free(
            lambda: Sequencer.open(
                public=Path("record"),
                private=Path("gateway"),
                signer=keyring.open(options.origin, "log"),
                witnesses=witnesses,
                quorum=options.quorum,
                clock_ms=clock,
                disk=Disk(),
                anchors=write_through if anchors else None,
            )
        )
        blobs = Blobs(Path("record") / "blobs", Path("gateway"))
        service = RecordService(
            sequencer,
            keyring,
            origin=options.origin,
            clock=clock,
            on_fatal=_fatal,
            monitor=Monitor(blobs.find),
        )
    except (RecordError, OSError) as error:
        _fatal(error)
        raise
    staff = Staff(service, blobs)
    blobs.sweep(_named_blobs(service))
    listeners = {}
    for text in options.listen:
        name, _, number = text.partition("=")
        listeners[name] = socket.socket(fileno=int(number))
    names = [one for one in listeners if one.startswith("researcher-") and AT_WORKER not in one]
    for name in ("gateway", "monitor", *names):
        keyring.open(name)
    try:
        worker = WorkerDesk(
            service,
            Ledger(Path("gateway") / LEDGER),
            is_closing=lambda: bool(staff.closing),
            meter=Meter(Path("gateway") / METER),
        )
    except (LedgerUnusable, MeterUnusable) as error:
        halt(EXIT_REFUSED, str(error))
        raise
    staff.settle, staff.spending, staff.set_limit = worker.settle, worker.spending, worker.set_limit
    staff.spent_by_monitor = worker.spent_by_monitor
    monitor = MonitorDesk(staff, worker)
    staff.measured, staff.use = worker.measured, worker.use
    desks = {
        name: ResearcherDesk(
            service,
            blobs,
            name,
            is_closing=lambda: bool(staff.closing),
            kept=Kept(Path("gateway") / "kept", name),
            settle=worker.settle_task,
            is_running=lambda submission, run: (submission, run) in staff.begun([submission]),
        )
        for name in names
    }
    ended = threading.Event()
    evaluator, control = EvaluatorDesk(staff), ControlDesk(staff, desks, stop=ended.set)
    for name, listener in listeners.items():
        # A researcher that is a model speaks through two sockets: of its sandbox, and of the worker.
        if name.removesuffix(AT_WORKER) in desks:
            desk = desks[name.removesuffix(AT_WORKER)]

            def seen(desk: ResearcherDesk = desk) -> None:
                desk.last_seen_ms = now_ms()

            server = UnixServer(
                listener,
                desk.verbs(),
                on_refused=desk.refused,
                on_request=seen,
                on_error=desk.stumbled,
                is_paced=True,
            )
        elif name == WORKER:
            server = UnixServer(
                listener,
                {**worker.verbs(), **monitor.verbs()},
                on_refused=_no_alarm,
                on_request=_nothing,
                on_error=_stumbled,
                connections=WORKER_CONNECTIONS,
                is_paced=True,
            )
        else:
            verbs = evaluator.verbs() if name == "evaluator" else control.verbs()
            server = UnixServer(listener, verbs, on_refused=_no_alarm, on_request=_nothing, on_error=_fatal)
        serve_in_thread(server, name)
    threading.Thread(target=service.publish_forever, name="publisher", daemon=True).start()
    with os.fdopen(options.ready_fd, "w") as ready:
        for name, signer in keyring.signers.items():
            ready.write(f"{name} {format_vkey(signer.vkey)}\n")
    ended.wait()
    os._exit(0)


def _open_when_free(open_record: Callable[[], Sequencer]) -> Sequencer:
    """Open the record; a gateway whose supervisor was killed a moment ago may still be letting go of it."""
    deadline = time.monotonic() + OTHER_GATEWAY_S
    while True:
        try:
            return open_record()
        except RecordInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _named_blobs(service: RecordService) -> set[str]:
    submissions = {one.body["digest"] for one in service.projection.submissions.values()}
    return submissions | {one["blob"]["sha256"] for one in service.projection.revealed.values()}


def _no_alarm(_refused: object, _what: str, _attempt: str) -> None:
    """The desk of the staff raises its own alarms."""


def _nothing() -> None:
    """Nobody watches how often the staff calls."""


def _stumbled(error: BaseException) -> None:
    """The worker reads what models write: an odd request of it ends no study, a disk that fails does."""
    if isinstance(error, OSError):
        _fatal(error)
    sys.stderr.write(f"a request of the worker failed: {error!r:.500}\n")
    sys.stderr.flush()


def _fatal(error: BaseException) -> None:
    if isinstance(error, DiskFull) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    ):
        halt(EXIT_DISK_FULL, f"the disk is full: {error}")
    halt(EXIT_HALTED, f"the gateway halted: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
