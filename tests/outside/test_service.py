"""What a service is when it has entered its directory: without rights, unreadable, gone with its lifeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aar.outside.sandbox.runtime import package_root

PROGRAM = """
import os, sys
from pathlib import Path
from aar.outside.service import enter
enter(Path(sys.argv[1]), uid=int(sys.argv[2]), lifeline_fd=int(sys.argv[3]))
told = open('/proc/self/status').read()
lines = dict(line.split(':', 1) for line in told.splitlines())
print(*(lines[name].split()[0] for name in ('Uid', 'NoNewPrivs', 'CapEff')), os.getcwd(), flush=True)
sys.stdin.read()
"""
SERVICE_UID = 64_321


def test_a_service_has_dropped_its_rights_for_good_and_ends_with_its_lifeline(tmp_path: Path) -> None:
    far, near = os.pipe()
    is_root = os.getuid() == 0
    uid = SERVICE_UID if is_root else 0
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, str(tmp_path), str(uid), str(far)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[far],
        env={"PYTHONPATH": str(package_root().parent)},
        text=True,
    ) as service:
        os.close(far)
        assert service.stdout is not None
        told_uid, no_new_rights, rights, directory = service.stdout.readline().split()
        assert (int(told_uid), no_new_rights) == (uid or os.getuid(), "1")
        assert int(rights, 16) == 0
        assert Path(directory) == tmp_path
        if not is_root:
            assert Path(f"/proc/{service.pid}/environ").stat().st_uid == 0
        os.close(near)
        assert service.wait(10) == 0
