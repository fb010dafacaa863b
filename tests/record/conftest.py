"""Fixtures of the record's tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.outside.record.disk import Disk
from aar.outside.record.witness_client import WitnessClient
from aar.witness.__main__ import WitnessServer
from aar.witness.store import WitnessStore
from record.world import LOG, ORIGIN, LocalWitness, World


@pytest.fixture
def world() -> World:
    """A record on a disk in memory."""
    return World()


@pytest.fixture
def real_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A record on a real file system, reached by relative paths."""
    monkeypatch.chdir(tmp_path)
    return World(Disk())


@pytest.fixture
def served_witness(real_world: World) -> Iterator[WitnessClient]:
    """The real witness server, on the Unix socket ``witness.sock`` of the current directory."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("witness.sock")
    listener.listen()
    Path("witness").mkdir()
    signer = LocalWitness().signer
    server = WitnessServer(listener, {ORIGIN: LOG.vkey}, WitnessStore(Path("witness")), signer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield WitnessClient(signer.vkey, "witness.sock")
    server.shutdown()
    thread.join()
    listener.close()
