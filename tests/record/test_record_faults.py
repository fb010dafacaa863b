"""The fault table: every effect on the disk fails, or is the last; nothing acknowledged is lost or forked.

The disk is one in memory that knows what was synced, so that a power cut can take away what was not.
"""

from __future__ import annotations

import errno
import random
import re
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache
from typing import Any

import pytest

from aar.formats.checkpoint import open_checkpoint
from aar.formats.entry import parse_leaf
from aar.outside.record.errors import DiskFull, QuorumNotMet, RecordHalted
from aar.outside.record.sequencer import Sequencer
from aar.verify import merkle
from aar.witness.witness import Seen
from record.world import LOG, MemoryDisk, PowerCut, World, entries

# Right before a tile is full: the run below makes a full tile and a second level, and removes partials.
START = 253
# How many entries to append; 0 is to publish.
STEPS = (2, 0, 1, 3, 0, 1, 0)


@cache
def _started() -> tuple[MemoryDisk, dict[str, Seen]]:
    world = World()
    sequencer = world.open()
    sequencer.append(entries(0, START))
    sequencer.publish()
    sequencer.close()
    return memory_of(world), world.witnesses[0].seen


def started_world() -> World:
    """A world of its own with START published entries."""
    disk, seen = _started()
    world = World(disk.after_kill())
    world.witnesses[0].seen.update(seen)
    return world


class Run:
    """What a caller was told, and which roots were signed, while a record lived."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acknowledged: dict[int, bytes] = {}
        self.attempted = START
        self.published = START

    def go(self) -> None:
        sequencer = self.world.open()
        try:
            for count in STEPS:
                self.step(sequencer, count)
        finally:
            sequencer.close()

    def step(self, sequencer: Sequencer, count: int) -> None:
        if count:
            self.append(sequencer, count)
        else:
            self.publish(sequencer)

    def append(self, sequencer: Sequencer, count: int) -> None:
        batch = entries(sequencer.size, count)
        self.attempted = max(self.attempted, sequencer.size + count)
        self.acknowledged.update(zip(sequencer.append(batch), batch, strict=True))

    def publish(self, sequencer: Sequencer) -> None:
        sequencer.publish()
        self.published = sequencer.published_size


def memory_of(world: World) -> MemoryDisk:
    assert isinstance(world.disk, MemoryDisk)
    return world.disk


def signed_roots(disk: MemoryDisk) -> dict[int, bytes]:
    """Every root that was ever written down as signed, by size; two for one size fail here."""
    roots: dict[int, bytes] = {}
    for data in disk.signed:
        checkpoint, _ = open_checkpoint(data, LOG.vkey)
        assert roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root, checkpoint.size
    return roots


def check_after(run: Run, disk: MemoryDisk, what: str) -> None:
    """Open what the crash left: the promises hold, and the record goes on."""
    world = World(disk)
    world.witnesses[0].seen.update(run.world.witnesses[0].seen)
    assert world.check_public().size >= run.published, what
    sequencer = world.open()
    assert START <= sequencer.size <= run.attempted, what
    for index, data in run.acknowledged.items():
        assert parse_leaf(sequencer.leaf(index)).signed.data == data, what
    assert run.published <= sequencer.published_size <= sequencer.signed_size <= sequencer.size, what
    sequencer.append(entries(sequencer.size, 2))
    sequencer.publish()
    newest = world.check_public()
    assert newest.size == sequencer.size, what
    # Whoever holds a root that was signed at any time finds it to be a prefix of the newest.
    for size, root in signed_roots(disk).items():
        if size:
            merkle.check_consistency(size, newest.size, sequencer.prove_consistency(size), root, newest.root)
    names = [str(path) for path, inode in disk.names.items() if inode is not None]
    assert not [name for name in names if name.startswith("gateway/staging/")], what
    full = {name for name in names if re.fullmatch(r"record/tile/\w+/\d{3}", name)}
    assert not [name for name in names if name.partition(".p/")[0] in full and ".p/" in name], what
    sequencer.close()


def check_after_any_crash(run: Run, what: str) -> None:
    """The process died and the cache is there; or the power went, with all or some of what was not synced."""
    disk = memory_of(run.world)
    rng = random.Random(what)
    check_after(run, disk.after_kill(), f"{what}, kill")
    check_after(run, disk.after_power_cut("synced", rng), f"{what}, power cut")
    check_after(run, disk.after_power_cut("some", rng), f"{what}, power cut, some arrived")


def effects_of_a_run() -> list[str]:
    world = started_world()
    Run(world).go()
    return list(memory_of(world).effects)


EFFECTS = effects_of_a_run()


def fail_at(number: int, how: str, code: int = errno.EIO) -> Callable[[int, str, Callable[[], Any]], Any]:
    """Let effect `number` fail, done or not done."""

    def fault(at: int, _name: str, act: Callable[[], Any]) -> Any:
        if at != number:
            return act()
        if how == "fails but persisted":
            act()
        raise OSError(code, f"injected at effect {at}")

    return fault


def cut_at(number: int) -> Callable[[int, str, Callable[[], Any]], Any]:
    def fault(at: int, _name: str, act: Callable[[], Any]) -> Any:
        if at >= number:
            raise PowerCut
        return act()

    return fault


def test_a_run_meets_every_effect_that_the_table_makes_fail():
    met = {line.split()[0] for line in EFFECTS}
    assert met == set(MemoryDisk.EFFECTS) - {"truncate"}
    started = {line for line in EFFECTS if line.startswith("link")}
    assert {"link record/tile/0/000", "link record/tile/entries/000", "link record/tile/1/000.p/1"} <= started


@pytest.mark.parametrize("how", ["fails", "fails but persisted"])
def test_after_any_failed_effect_nothing_acknowledged_is_lost_and_nothing_forks(how: str):
    for number, effect in enumerate(EFFECTS):
        world = started_world()
        memory_of(world).fault = fail_at(number, how)
        run = Run(world)
        with pytest.raises(RecordHalted):
            run.go()
        check_after_any_crash(run, f"{how} at {number}: {effect}")


def test_after_a_power_cut_between_any_two_effects_nothing_acknowledged_is_lost_and_nothing_forks():
    for number, effect in enumerate(EFFECTS):
        world = started_world()
        memory_of(world).fault = cut_at(number)
        run = Run(world)
        with pytest.raises(PowerCut):
            run.go()
        check_after_any_crash(run, f"cut before {number}: {effect}")


@pytest.mark.parametrize("when", ["during", "right after"])
def test_a_power_cut_during_or_after_the_recovery_from_a_kill_loses_nothing_either(when: str):
    for number, effect in enumerate(EFFECTS):
        world = started_world()
        memory_of(world).fault = cut_at(number)
        run = Run(world)
        with pytest.raises(PowerCut):
            run.go()
        rng = random.Random(number)
        world.disk = disk = memory_of(world).after_kill()
        again = rng.randrange(40) if when == "during" else 1_000
        disk.fault = cut_at(again)
        with suppress(PowerCut):
            sequencer = world.open()
            sequencer.publish()
            run.published = sequencer.published_size
        check_after(
            run, disk.after_power_cut("synced", rng), f"cuts before {number}: {effect}, and before {again}"
        )


@pytest.mark.parametrize("how", ["fails", "fails but persisted"])
def test_a_full_disk_at_any_effect_refuses_or_halts_and_goes_on_when_there_is_space(how: str):
    refused = finished = 0
    for number, effect in enumerate(EFFECTS):
        world = started_world()
        disk = memory_of(world)
        disk.fault = fail_at(number, how, errno.ENOSPC)
        run = Run(world)
        try:
            sequencer = world.open()
        except (DiskFull, RecordHalted):
            disk.fault = None
            disk.locked.clear()
            check_after(run, disk, f"{how} at {number}: {effect}")
            continue
        with suppress(RecordHalted):
            for step in STEPS:
                try:
                    run.step(sequencer, step)
                except DiskFull:
                    refused += 1
                    # There is space again at once: the same call goes on.
                    run.step(sequencer, step)
            finished += 1
        sequencer.close()
        disk.fault = None
        check_after(run, disk, f"{how} at {number}: {effect}")
    assert refused >= finished > 10


def test_a_witness_that_is_lost_at_any_moment_changes_nothing_that_is_published():
    for lost in range(12):
        world = started_world()
        witness = world.witnesses[0]
        honest, calls = witness.add_checkpoint, [0]

        def add_checkpoint(
            *arguments: Any, honest: Any = honest, calls: list[int] = calls, lost: int = lost
        ) -> bytes:
            calls[0] += 1
            answer: bytes = honest(*arguments)
            if calls[0] > lost:
                raise ConnectionResetError("the answer is lost on the way, the witness keeps what it saw")
            return answer

        witness.add_checkpoint = add_checkpoint  # type: ignore[method-assign]
        run = Run(world)
        with pytest.raises(QuorumNotMet) if lost < 5 else nullcontext():
            run.go()
        witness.add_checkpoint = honest  # type: ignore[method-assign]
        check_after(run, memory_of(world), f"lost after {lost}")
