"""Whether this machine can run sandboxes, and the one line to type when it cannot."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from aar.outside.sandbox import seccomp
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.runtime import layout_for, package_root
from aar.outside.sandbox.spec import SandboxUnavailable

INSTALL = "bubblewrap is not installed: type `sudo apt-get install bubblewrap`"
_APPARMOR = (
    "AppArmor keeps bubblewrap from user namespaces: type "
    "`sudo cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
    "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict`"
)
_CONTAINER = (
    "this container forbids namespaces: start it with `--security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined --security-opt systempaths=unconfined`"
)
_MASKED_PROC = (
    "this container covers parts of /proc: start it with `--security-opt systempaths=unconfined` "
    "(podman: `--security-opt unmask=ALL`)"
)
_SETTINGS = {
    "kernel.unprivileged_userns_clone": "/proc/sys/kernel/unprivileged_userns_clone",
    "user.max_user_namespaces": "/proc/sys/user/max_user_namespaces",
    "kernel.apparmor_restrict_unprivileged_userns": "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
}
_NEEDED_FEATURES = ("--add-seccomp-fd", "--json-status-fd", "--args", "--perms", "--size", "--clearenv")


def missing_backend() -> str | None:
    """What keeps sandboxes from running here, with the line to type; None when nothing does.

    Starts one empty sandbox with every namespace to find out (20 ms).
    """
    try:
        seccomp.main_filter(platform.machine())
        path = find_bubblewrap()
        uid = slot_uid(0)
    except (SandboxUnavailable, seccomp.UnsupportedArchitecture) as error:
        return f"{error}"
    if uid is not None:
        try:
            closed = closed_to_others()
        except SandboxUnavailable as error:
            return f"{error}"
        if closed is not None:
            return closed
    namespaces = [f"--unshare-{kind}" for kind in ("user", "pid", "net", "ipc", "uts", "cgroup")]
    tried = subprocess.run(
        [path, *namespaces, "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"],
        capture_output=True,
        text=True,
        env={},
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        timeout=20,
        check=False,
    )
    if tried.returncode == 0:
        return None
    settings = {
        name: Path(place).read_text().strip() for name, place in _SETTINGS.items() if Path(place).is_file()
    }
    return remedy(tried.stderr.strip(), settings)


def closed_to_others() -> str | None:
    """What of our code and of its Python is closed to ids that are not its owner's, and what to type; None
    when it is open. What lies above does not matter: a stage shows each directory without its parents.
    """
    # The bench sees all that any other profile does.
    sources = (Path(bind.source) for bind in layout_for("bench").binds)
    found = next(_closed([*sources, *_inside(package_root()), *_inside(Path(sys.prefix))]), None)
    if found is None:
        return None
    opened = found if found.is_dir() else found.parent
    for whole in (package_root().parent.parent, Path(sys.prefix)):
        if found.is_relative_to(whole):
            opened = whole
            break
    return (
        f"sandboxes run under ids of their own, to which {found} is closed (a umask of 077?); "
        f"type: chmod -R go+rX {opened}"
    )


def _inside(folder: Path) -> Iterator[Path]:
    yield from (folder, *folder.glob("*"), *folder.glob("*/*.py"))


def _closed(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        wanted = 0o005 if path.is_dir() else 0o004
        if not path.is_symlink() and path.stat().st_mode & wanted != wanted:
            yield path


def find_bubblewrap() -> str:
    """The path of a usable bwrap; `SandboxUnavailable` with the line to type when there is none.

    Features are looked up in its help, not guessed from a version: distributions backport.
    """
    path = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if path is None:
        raise SandboxUnavailable(INSTALL)
    if os.stat(path).st_mode & 0o6000:
        raise SandboxUnavailable(
            f"{path} is set-uid, which is not needed here: type `sudo chmod u-s,g-s {path}`"
        )
    missing = [option for option in _NEEDED_FEATURES if option not in features(path)]
    if missing:
        raise SandboxUnavailable(
            f"{path} is too old, it lacks {', '.join(missing)}: install bubblewrap 0.6 or later"
        )
    return path


def features(path: str) -> frozenset[str]:
    """The long options that this bwrap knows; it is asked once."""
    told = os.stat(path)
    return _features(path, told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=4)
def _features(path: str, _mtime_ns: int, _size: int) -> frozenset[str]:
    listed = subprocess.run([path, "--help"], capture_output=True, text=True, env={}, timeout=10, check=False)
    return frozenset(word for word in (listed.stdout + listed.stderr).split() if word.startswith("--"))


def version(path: str) -> str:
    """Such as "0.8.0"."""
    told = subprocess.run(
        [path, "--version"], capture_output=True, text=True, env={}, timeout=10, check=False
    )
    return told.stdout.strip().rpartition(" ")[2] or "unknown"


def remedy(message: str, settings: dict[str, str]) -> str:
    """From bubblewrap's complaint and the kernel's settings to one line that says what to type."""
    if settings.get("user.max_user_namespaces") == "0":
        return "user namespaces are off: type `sudo sysctl -w user.max_user_namespaces=10000`"
    if settings.get("kernel.unprivileged_userns_clone") == "0":
        return "user namespaces are off: type `sudo sysctl -w kernel.unprivileged_userns_clone=1`"
    if settings.get("kernel.apparmor_restrict_unprivileged_userns") == "1":
        return _APPARMOR
    if "uid map: Permission denied" in message or "RTM_NEWADDR" in message:
        return _APPARMOR
    if "mount proc" in message:
        return _MASKED_PROC
    if "amespace" in message:
        return _CONTAINER
    return f"bubblewrap cannot start a sandbox: {message or 'no reason given'}"
