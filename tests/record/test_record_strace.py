"""A real process is killed, or refused, at every write, sync, rename and link of a run of several commits.

strace does it, at the system call: a kill comes before the call is carried out, so that the kill at the next
one is the same call "failed but persisted". A kill leaves the page cache; test_record_faults.py has the power
cuts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aar.formats.checkpoint import open_checkpoint
from aar.formats.entry import parse_leaf
from aar.formats.keys import format_vkey
from aar.formats.policy import Policy, format_policy
from aar.outside.record.disk import Disk
from aar.outside.record.witness_client import WitnessClient
from aar.verify import merkle
from aar.verify.study import verify_log
from aar.witness.__main__ import WitnessServer
from aar.witness.store import WitnessStore
from programs import Sumdb, build_sumdb, lacking, program
from record.world import LOG, ORIGIN, LocalWitness, World, entries

pytestmark = [pytest.mark.deep, pytest.mark.timeout(7_200)]

# Names that a machine's kernel does not have are passed over: that is what the question mark says.
CALLS = ("pwrite64", "fdatasync", "fsync", "rename", "renameat", "link", "linkat", "unlink", "mkdir")
TRACED = ",".join(f"?{name}" for name in CALLS)
# As in test_record_faults.py: a tile fills up on the way, a second level begins, partials are removed.
START = 253
STEPS = (2, 0, 1, 3, 0, 1, 0)

WRITER = f"""
import hashlib
from aar.outside.record.disk import Disk
from aar.outside.record.witness_client import WitnessClient
from record.world import LocalWitness, World, entries

world = World(Disk())
world.witnesses = [WitnessClient(LocalWitness().vkey, "witness.sock")]
sequencer = world.open()
for count in {STEPS}:
    if count:
        batch = entries(sequencer.size, count)
        for index, data in zip(sequencer.append(batch), batch):
            print("durable", index, hashlib.sha256(data).hexdigest(), flush=True)
    else:
        sequencer.publish()
        print("published", sequencer.published_size, flush=True)
"""


@contextmanager
def witness_here() -> Iterator[WitnessClient]:
    """The real witness server on `witness.sock`, its memory in `witness`, both in the current directory."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    Path("witness.sock").unlink(missing_ok=True)
    listener.bind("witness.sock")
    listener.listen()
    Path("witness").mkdir(exist_ok=True)
    signer = LocalWitness().signer
    server = WitnessServer(listener, {ORIGIN: LOG.vkey}, WitnessStore(Path("witness")), signer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield WitnessClient(signer.vkey, "witness.sock")
    finally:
        server.shutdown()
        thread.join()
        listener.close()


class Crashes:
    """Copies of one started record, and a writer under strace in each."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._strace = program("strace", "strace")
        self._monkeypatch = monkeypatch
        self._directory = directory
        self._begun = directory / "begun"
        self._begun.mkdir()
        monkeypatch.chdir(self._begun)
        policy = Policy.with_one_witness(LOG.vkey, "local", LocalWitness().vkey)
        Path("policy").write_text(format_policy(policy), "utf-8")
        with witness_here() as witness:
            world = World(Disk())
            world.witnesses = [witness]
            sequencer = world.open()
            sequencer.append(entries(0, START))
            sequencer.publish()
            sequencer.close()
        Path("witness.sock").unlink()

    def run(self, *inject: str) -> tuple[int, list[str], str]:
        """Run the writer in a fresh copy, which becomes the current directory; its exit, output, trace."""
        self._monkeypatch.chdir(self._directory)
        shutil.rmtree("copy", ignore_errors=True)
        shutil.copytree(self._begun, "copy")
        self._monkeypatch.chdir(self._directory / "copy")
        here = Path(__file__).parents[2]
        environment = {
            "PYTHONPATH": f"{here / 'src'}:{here / 'tests'}",
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [self._strace, "-f", "-qq", "-o", "trace", "-e", f"trace={TRACED}"]
        for one in inject:
            command += ["-e", f"inject={one}"]
        with witness_here():
            done = subprocess.run(
                [*command, sys.executable, "-c", WRITER],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        if "strace:" in done.stderr and "not permitted" in done.stderr:
            lacking("strace may not trace here")
        assert done.returncode in (0, 1, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
        assert done.returncode != 1 or "RecordHalted" in done.stderr, done.stderr
        return done.returncode, done.stdout.splitlines(), Path("trace").read_text("utf-8")


def check_survivor(said: list[str], what: str, sumdb: Sumdb) -> None:
    """What was acknowledged is there, what was signed is a prefix of what comes, both verifiers accept."""
    durable = dict(line.split()[1:] for line in said if line.startswith("durable"))
    published = max([START, *(int(line.split()[1]) for line in said if line.startswith("published"))])
    held = [open_checkpoint(Path("record/checkpoint").read_bytes(), LOG.vkey)[0]]
    held.append(open_checkpoint(Path("gateway/signed").read_bytes(), LOG.vkey)[0])
    assert held[0].size >= published, what
    report = verify_log(Path())
    assert (report.verdict, report.findings) == ("ok", []), what
    assert sumdb.verified(format_vkey(LOG.vkey), Path("record")), what
    with witness_here() as witness:
        world = World(Disk())
        world.witnesses = [witness]
        sequencer = world.open()
        for index, digest in durable.items():
            assert hashlib.sha256(parse_leaf(sequencer.leaf(int(index))).signed.data).hexdigest() == digest, (
                what
            )
        sequencer.append(entries(sequencer.size, 2))
        sequencer.publish()
        size = sequencer.size
        hashes = [merkle.leaf_hash(sequencer.leaf(index)) for index in range(size)]
        sequencer.close()
    for checkpoint in held:
        assert merkle.root_of(hashes[: checkpoint.size]) == checkpoint.root, what
    report = verify_log(Path())
    assert (report.verdict, report.findings, report.tree_size) == ("ok", [], size), what


def test_after_a_kill_or_an_error_at_any_call_nothing_is_lost_and_the_verifier_accepts_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sumdb = build_sumdb(tmp_path)
    crashes = Crashes(tmp_path, monkeypatch)
    code, said, trace = crashes.run()
    assert (code, len(said)) == (0, sum(STEPS) + STEPS.count(0))
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE))
    assert {"pwrite64", "fdatasync", "fsync"} <= calls.keys()
    assert calls["rename"] + calls["renameat"] > 6
    assert calls["link"] + calls["linkat"] > 6
    ends: Counter[int] = Counter()
    for call, count in calls.items():
        for number in range(1, count + 1):
            for how in ("signal=SIGKILL", "error=EIO"):
                what = f"{call}:{how}:when={number}"
                code, said, _ = crashes.run(what)
                ends[code] += 1
                check_survivor(said, what, sumdb)
    # Only removing what is in the way may fail and the run still end well: a halt or a kill otherwise.
    killed = ends[-signal.SIGKILL] + ends[128 + signal.SIGKILL]
    assert killed == calls.total()
    assert ends[1] > calls.total() // 2
