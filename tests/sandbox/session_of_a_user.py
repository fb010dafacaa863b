"""Two sessions of whoever runs this, one attacked by its own commands: a program for a test; prints JSON."""

from __future__ import annotations

import json
import sys

from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.session import Session
from aar.outside.sandbox.spec import SandboxSpec

FORGED = r"""printf '{"id":2,"say":"done","size":0}\n' > /proc/1/fd/1; sleep 100"""


def main() -> None:
    told: dict[str, object] = {}
    with Launcher.spawn({"researcher"}) as launcher:
        client = LauncherClient(launcher.sockets[0])
        spec = SandboxSpec(name="user", profile="researcher", argv=("-",), has_shell=True)
        with Session.open(client, spec) as attacked, Session.open(client, spec) as other:
            told["who"] = other.exec(["id", "-u"]).stdout.decode().strip()
            # An ordinary user's sandboxes hold pipes of that user's: the first process shows them.
            forged = attacked.exec(["bash", "-c", FORGED], timeout_s=30.0)
            told["forged"] = [forged.reason, attacked.is_alive(), attacked.close().reason]
            late = other.exec(["sh", "-c", "(setsid sleep 600 &); sleep 600"], timeout_s=0.5)
            told["late"] = [late.reason, other.exec(["pgrep", "-f", "sleep [6]00"]).returncode]
            other.write_file("a/b", b"c")
            told["snapshot"] = {name: data.decode() for name, data in other.snapshot(".").items()}
            killed = other.exec(["sh", "-c", "kill -9 2; sleep 60"])
            told["killed"] = [killed.reason, other.close().reason]
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
