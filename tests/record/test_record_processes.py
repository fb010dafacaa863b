"""The record in real processes on real file systems: a small disk fills up, kill -9 comes at any time."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.formats.entry import parse_leaf
from aar.outside.record.disk import Disk
from aar.outside.record.errors import DiskFull
from aar.outside.record.witness_client import WitnessClient
from record.world import World, entries, signed_entry

KILLS = 10


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", directory], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    monkeypatch.chdir(directory)
    yield directory
    monkeypatch.chdir(tmp_path)
    subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.mark.parametrize("batch_size", [1, 30])
def test_a_disk_that_fills_up_refuses_and_loses_nothing(small_disk: Path, batch_size: int):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(200_000))
    world = World(Disk())
    sequencer = world.open()
    refusals: list[str] = []
    acknowledged = 0
    for number in range(3_000):
        try:
            # On some rounds publishing meets the full disk first, on others appending.
            if number % 3 == 2:
                sequencer.publish()
            else:
                acknowledged = sequencer.append(entries(sequencer.size, batch_size)).stop
        except DiskFull as error:
            refusals.append(str(error))
        if len(refusals) > 8:
            break
    assert {"gateway/wal" in one for one in refusals} == {True, False}
    assert sequencer.size == acknowledged > 20
    assert world.check_public().size == sequencer.published_size
    sequencer.close()
    with pytest.raises(DiskFull):
        world.open()
    filler.unlink()
    sequencer = world.open()
    assert sequencer.size == acknowledged
    assert parse_leaf(sequencer.leaf(acknowledged - 1)).signed.data == signed_entry(acknowledged - 1)
    sequencer.append(entries(sequencer.size, 3))
    sequencer.publish()
    assert world.check_public().size == acknowledged + 3
    sequencer.close()


WRITER = """
import hashlib, sys
from aar.outside.record.disk import Disk
from aar.outside.record.witness_client import WitnessClient
from record.world import LocalWitness, World, entries

world = World(Disk())
world.witnesses = [WitnessClient(LocalWitness().vkey, "witness.sock")]
sequencer = world.open()
print("opened", flush=True)
while True:
    for count in (1, 3, 7):
        batch = entries(sequencer.size, count)
        for index, data in zip(sequencer.append(batch), batch):
            print("durable", index, hashlib.sha256(data).hexdigest(), flush=True)
    sequencer.publish()
    print("published", sequencer.published_size, flush=True)
"""


def test_ten_kills_at_any_moment_lose_nothing_acknowledged(real_world: World, served_witness: WitnessClient):
    rng = random.Random(20_261_123)
    durable: dict[int, str] = {}
    published = 0
    here = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{here / 'src'}:{here / 'tests'}", "PATH": os.environ["PATH"]}
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "opened\n"
        killer = threading.Timer(rng.uniform(0, 0.12), os.kill, (writer.pid, signal.SIGKILL))
        killer.start()
        for line in writer.stdout:
            if not line.endswith("\n"):
                break
            word, *values = line.split()
            if word == "durable":
                durable[int(values[0])] = values[1]
            else:
                published = max(published, int(values[0]))
        assert writer.wait() == -signal.SIGKILL
        killer.join()
    real_world.witnesses = [served_witness]
    sequencer = real_world.open()
    assert sequencer.published_size >= published > 0
    assert len(durable) > 100
    for index, digest in durable.items():
        assert hashlib.sha256(parse_leaf(sequencer.leaf(index)).signed.data).hexdigest() == digest
    sequencer.publish()
    assert real_world.check_public().size == sequencer.size > max(durable)
    sequencer.close()
