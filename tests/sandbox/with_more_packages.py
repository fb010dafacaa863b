"""Run a script in a researcher's sandbox whose view has more packages: `with_more_packages.py PACKAGE...`.

The script comes on standard input. Launcher, filters, uid and limits are the researcher's; only the view is
wider, by packages of the interpreter that runs this. Ends with the script's status.
"""

from __future__ import annotations

import os
import sys

from aar.outside.sandbox import runtime
from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.bubblewrap import Bubblewrap
from aar.outside.sandbox.protocol import memory_file
from aar.outside.sandbox.spec import SandboxSpec


def main(packages: list[str]) -> int:
    runtime.MAY_ENTER_SANDBOX["researcher"] = (*runtime.MAY_ENTER_SANDBOX["researcher"], *packages)
    script = sys.stdin.buffer.read()
    spec = SandboxSpec(
        name="more",
        profile="researcher",
        argv=(*sandbox_python(), "/workspace/script.py"),
        files={"/workspace/script.py": script},
        uid_slot=291,
        memory_mib=1024,
        processes=64,
        cpu_s=200,
    )
    bubblewrap = Bubblewrap.prepare()
    nothing, content = memory_file(b""), memory_file(script)
    started = bubblewrap.start(spec, 1, [nothing, 1, 2], [content])
    _, status = os.waitpid(started.pid, 0)
    bubblewrap.release(started)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
