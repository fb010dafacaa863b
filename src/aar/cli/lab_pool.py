"""Running what is to be run of experiments: from the cache, in this process or in several, with progress."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from aar.cli.failures import CommandFailed
from aar.cli.output import complain
from aar.lab.problems.problem import Marks
from aar.lab.problems.registry import problem_named
from aar.lab.run_cache import RunCache
from aar.lab.runs import RunKey, Work, do_work, splits_of, work_for

# So many runs one process has done before others have started.
LEAST_SHARED = 64
_PR_SET_PDEATHSIG = 1

Plan = tuple[str, Sequence[str], Sequence[int], int]
"""A problem, pipeline texts, seeds and the number of replicates."""


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/aar/lab``, by default ``~/.cache/aar/lab``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aar" / "lab"


def run_plans(plans: Sequence[Plan], *, jobs: int, is_cached: bool) -> tuple[dict[RunKey, Marks | str], int]:
    """All marks that the plans want, and how many splits had to be run for them.

    Each finished split is kept at once, so that a stopped command goes on where it was.
    """
    cache = RunCache(cache_directory()) if is_cached else None
    done: dict[RunKey, Marks | str] = {}
    pieces: list[Work] = []
    for problem, pipelines, seeds, replicates in plans:
        if cache is not None:
            done |= cache.load(problem, problem_named(problem).digest, splits_of(seeds, replicates))
        pieces += work_for(problem, pipelines, seeds, replicates, done)
    with _progress(len(pieces)) as advance:
        for piece, found in _results(pieces, jobs):
            done |= found
            if cache is not None:
                cache = _kept(cache, piece, found)
            advance()
    return done, len(pieces)


def _kept(cache: RunCache, piece: Work, found: dict[RunKey, Marks | str]) -> RunCache | None:
    marks = {key: value for key, value in found.items() if not isinstance(value, str)}
    try:
        cache.store(piece.problem, problem_named(piece.problem).digest, marks)
    except OSError as error:
        complain(f"results are not kept: {error}; --no-cache says so from the start")
        return None
    return cache


def _results(pieces: Sequence[Work], jobs: int) -> Iterator[tuple[Work, dict[RunKey, Marks | str]]]:
    if jobs == 1 or sum(len(piece.missing) for piece in pieces) < LEAST_SHARED:
        for piece in pieces:
            yield piece, do_work(problem_named(piece.problem), piece)
        return
    # Not forked: libraries with threads of their own do not survive that for certain.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=begin_worker, initargs=(os.getpid(),))
    try:
        running = {pool.submit(_run, piece): piece for piece in pieces}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool:
        raise CommandFailed(
            "a process that ran experiments ended by itself, out of memory perhaps; --jobs 1 uses one alone; "
            "say it again and it goes on, unless with --no-cache"
        ) from None
    finally:
        end_workers(pool)


def begin_worker(parent: int) -> None:
    """A worker leaves Ctrl-C to its parent, and ends when that does, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def end_workers(pool: ProcessPoolExecutor) -> None:
    """End a pool now, whatever its workers do."""
    pool.shutdown(wait=False, cancel_futures=True)
    workers = multiprocessing.active_children()
    for process in workers:
        process.terminate()
    for process in workers:
        process.join()


def _run(piece: Work) -> dict[RunKey, Marks | str]:
    return do_work(problem_named(piece.problem), piece)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error where that is a terminal; it is gone when all is done."""
    if not total or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("splits"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("splits", total=total)
        yield lambda: bar.advance(task)
