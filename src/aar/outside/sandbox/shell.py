"""The programs of a sandbox that has a shell: a list by name, read-only, none that runs as anyone else."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

from aar.outside.sandbox.argv import Bind, Layout
from aar.outside.sandbox.spec import SandboxUnavailable

# Text, files and processes; nothing that speaks to a network, and no interpreter but awk beside the shell.
# Their libraries are in the view already, with those of Python.
_ON_THE_LIST = """
bash sh
arch b2sum base32 base64 basename basenc cat chmod cksum comm cp csplit cut date dd df dir dirname du echo
env expand expr factor false fmt fold groups head id install join link ln ls md5sum mkdir mkfifo mktemp mv
nice nl nohup nproc numfmt od paste pathchk pr printenv printf ptx pwd readlink realpath rm rmdir seq
sha1sum sha224sum sha256sum sha384sum sha512sum shuf sleep sort split stat stty sum sync tac tail tee test
timeout touch tr true truncate tsort tty uname unexpand uniq unlink wc whoami yes [
awk mawk gawk sed grep egrep fgrep find xargs diff diff3 cmp sdiff patch
tar gzip gunzip zcat bzip2 bunzip2 xz unxz xzcat zstd unzstd
ps pgrep pkill kill free uptime which less more jq tree file bc column rev hexdump xxd getopt flock setsid
"""
SHELL_PROGRAMS = tuple(_ON_THE_LIST.split())
_NEEDED = ("bash", "sh")
_FOLDER = Path("/usr/bin")
INSTALL = "no bash on this machine: type `sudo apt-get install bash`"


def with_shell(layout: Layout) -> Layout:
    """The same view with the programs of this machine that are on the list.

    Raises `SandboxUnavailable` where there is no shell.
    """
    binds = list(layout.binds)
    seen = {bind.dest for bind in binds}
    for name in SHELL_PROGRAMS:
        source = os.path.realpath(_FOLDER / name)
        dest = str(_FOLDER / name)
        if is_plain_program(source) and dest not in seen:
            binds.append(Bind(source, dest))
            seen.add(dest)
        elif name in _NEEDED:
            raise SandboxUnavailable(INSTALL)
    return replace(layout, binds=tuple(binds))


def is_plain_program(path: str) -> bool:
    """Whether all may run it, and nobody as anyone else."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and mode & 0o001 != 0 and not mode & (stat.S_ISUID | stat.S_ISGID)
