"""The evaluator process: ``python -m aar.outside.evaluation --directory DIR --gateway-socket PATH ...``."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aar.formats.commitments import SECRET_BYTES
from aar.formats.keys import format_vkey
from aar.lab.problems import JSONL
from aar.outside.evaluation import blind
from aar.outside.evaluation.bench import Bench, BenchFailed
from aar.outside.evaluation.evaluator import Evaluator
from aar.outside.evaluation.official_run import Problem, ProblemRefused, check_pool, pool_of
from aar.outside.evaluation.official_sandboxes import OfficialSandboxes
from aar.outside.keyring import load_or_create_key, write_durably
from aar.outside.sandbox.client import LauncherClient
from aar.outside.service import EXIT_DISK_FULL, EXIT_HALTED, EXIT_REFUSED, enter, halt
from aar.outside.staff_client import GatewayGone, GatewayRefused, StaffClient
from aar.outside.study_data import DataUnusable, read_data
from aar.outside.study_directory import DATA

WORKERS = 2
# Sandboxes that wait for a submission while there is none.
AHEAD = 1


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="aar.outside.evaluation")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--gateway-socket", required=True)
    parser.add_argument("--launcher-fd", type=int, default=-1, help="without one nothing is run or opened")
    parser.add_argument("--problem", required=True)
    parser.add_argument("--heldout", action="append", default=[])
    parser.add_argument("--seeds", type=int, required=True)
    parser.add_argument("--replicates", type=int, required=True)
    parser.add_argument("--draws", type=int, required=True)
    parser.add_argument("--opening", action="store_true")
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    enter(options.directory, uid=options.uid, lifeline_fd=options.lifeline_fd)
    private = Path("evaluator")
    try:
        signer = load_or_create_key(private / "evaluator.key", "evaluator", os.urandom)
        secret = _secret(private / "seed.secret")
        if options.launcher_fd < 0:
            material = {"vkey": format_vkey(signer.vkey), **blind.opening(options.problem, secret)}
            with os.fdopen(options.ready_fd, "w") as ready:
                json.dump(material, ready)
            blind.work_forever(StaffClient(options.gateway_socket), secret)
        payloads = private / "payloads"
        payloads.mkdir(mode=0o700, exist_ok=True)
        launcher = LauncherClient(socket.socket(fileno=options.launcher_fd))
        names = (options.problem, *options.heldout)
        # Read once: the bytes that the bench makes its digest of are those that it teaches with.
        bench = Bench(launcher, read_data(Path(DATA)) if JSONL in names else None)
        described = {name: bench.describe(name) for name in names}
        problem, *heldout = (
            Problem(
                name=name,
                pool=pool_of(told),
                seeds=options.seeds,
                replicates=options.replicates,
            )
            for name, told in described.items()
        )
        evaluator = Evaluator(
            gateway=StaffClient(options.gateway_socket),
            sandboxes=OfficialSandboxes(launcher, ahead=AHEAD),
            bench=bench,
            signer=signer,
            secret=secret,
            problem=problem,
            heldout=heldout,
            draws=options.draws,
            payloads=payloads,
        )
        material = {"vkey": format_vkey(signer.vkey), "problems": described}
        if options.opening:
            for one in (problem, *heldout):
                check_pool(one)
            material |= evaluator.opening()
        _check_digests(StaffClient(options.gateway_socket).post("/v1/hello", {})["opened"], described)
    except GatewayGone:
        halt(0, "the evaluator ends: the gateway is gone")
    except GatewayRefused as refused:
        if refused.code == "stopping":
            halt(0, "the evaluator ends: the gateway is stopping")
        _fatal(refused)
        raise
    except (BenchFailed, DataUnusable, ProblemRefused) as error:
        halt(EXIT_REFUSED, f"the problem is refused: {error}")
    except Exception as error:
        _fatal(error)
        raise
    with os.fdopen(options.ready_fd, "w") as ready:
        json.dump(material, ready)
    workers = [
        threading.Thread(target=_work, args=(evaluator,), name=f"worker-{number}", daemon=True)
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _secret(path: Path) -> bytes:
    if not path.exists():
        write_durably(path, os.urandom(SECRET_BYTES).hex().encode() + b"\n", mode=0o600)
    return bytes.fromhex(path.read_text("ascii").strip())


def _check_digests(opened: Mapping[str, Any], described: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `ProblemRefused` if a problem is not the one that the record's first entry committed to."""
    if not opened:
        return
    wanted = {opened["problem"]: opened["problem_digest"]}
    wanted |= {one["name"]: one["digest"] for one in opened["heldout"]}
    for name, told in described.items():
        if told["digest"] != wanted.get(name):
            mend = "put back the data that it was opened with" if name == JSONL else "take the version it had"
            raise ProblemRefused(
                f"{name} is another one than the study was opened with (digest {told['digest']}, the record "
                f"has {wanted.get(name)}); {mend}"
            )


def _work(evaluator: Evaluator) -> None:
    try:
        evaluator.work_forever()
    except GatewayGone:
        halt(0, "the evaluator ends: the gateway is gone")
    except GatewayRefused as refused:
        if refused.code == "stopping":
            halt(0, "the evaluator ends: the gateway is stopping")
        _fatal(refused)
    except Exception as error:  # noqa: BLE001 - one line, and the process ends: a half-done run is repeated
        _fatal(error)


def _fatal(error: BaseException) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        halt(EXIT_DISK_FULL, f"the disk is full: {error}")
    halt(EXIT_HALTED, f"the evaluator halted: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
