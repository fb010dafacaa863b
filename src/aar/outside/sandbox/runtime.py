"""Which files of the host make up the Python that runs inside, by profile."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from aar.outside.sandbox.argv import PRLIMIT, PYTHON, Bind, Layout
from aar.outside.sandbox.spec import PROFILES, SandboxUnavailable

# What may enter, by name. scikit-learn ships the digits with their labels: it is for the bench alone, which
# is our code and holds the labels anyway. scipy has no data of its own, and blocks solve with it.
_BASE = ("numpy", "scipy", "nacl", "_cffi_backend")
_SCIKIT_LEARN = ("sklearn", "joblib", "threadpoolctl", "narwhals", "cloudpickle")
MAY_ENTER_SANDBOX = {
    profile: (*_BASE, *_SCIKIT_LEARN) if profile == "bench" else _BASE for profile in sorted(PROFILES)
}
MAY_ENTER_SANDBOX_OF_OURS = ("formats", "verify", "lab", "inside")
# Of these, what holds labels or makes them: the problems, and the weights whose head knows them. Every other
# profile finds empty directories there.
FOR_THE_BENCH_ALONE = ("lab/problems", "lab/data")

# Wheels keep the shared libraries that they bring beside the package.
_LIBRARIES_OF = {"numpy": "numpy.libs", "scipy": "scipy.libs", "sklearn": "scikit_learn.libs"}
_NEEDED = ("numpy", "nacl")
_HIDDEN_PROC = (
    "cmdline", "config.gz", "kallsyms", "kcore", "key-users", "keys", "latency_stats", "modules",
    "sched_debug", "sysrq-trigger", "timer_list",
)  # fmt: skip


def layout_for(profile: str) -> Layout:
    """What this profile sees, with real host paths; `SandboxUnavailable` when a needed piece is missing."""
    binds = [*_system(), *_python(), *_our_code()]
    for package in MAY_ENTER_SANDBOX[profile]:
        binds += _package(package)
    masks = tuple(
        f"/opt/py/{sys.platlibdir}/{_python_name()}/{folder}"
        for folder in ("site-packages", "dist-packages")
        if (_stdlib() / folder).is_dir()
    )
    if profile != "bench":
        masks += tuple(
            f"/opt/aar/aar/{folder}" for folder in FOR_THE_BENCH_ALONE if (package_root() / folder).is_dir()
        )
    return Layout(
        binds=tuple(binds),
        masks=masks,
        symlinks=(("usr/bin", "/bin"), ("usr/lib", "/lib"), ("usr/lib64", "/lib64")),
        hidden_proc=tuple(f"/proc/{name}" for name in _HIDDEN_PROC if os.path.exists(f"/proc/{name}")),
    )


def shared_with_sandboxes(directory: Path) -> str | None:
    """What sandboxes read of the host that `directory` lies in or holds; None when they are apart.

    A study there would show its labels and keys to those that it is to hide them from. Raises
    `SandboxUnavailable` as `layout_for` does.
    """
    place = os.path.realpath(directory)
    # The bench sees all that any other profile does.
    for bind in layout_for("bench").binds:
        if f"{place}/".startswith(f"{bind.source}/") or bind.source.startswith(f"{place}/"):
            return bind.source
    return None


def directories_of(layout: Layout) -> list[str]:
    """The directories that hold the sources of its binds: a source itself, or the one that a file is in.

    One that lies in another, on the same file system, is left to that: each costs a mount at every start.
    """
    found = dict.fromkeys(_directory_of(bind.source) for bind in layout.binds)
    return [one for one in found if not any(_holds(other, one) for other in found)]


def moved(layout: Layout, places: Mapping[str, str]) -> Layout:
    """The same view, with each of `directories_of` replaced by where it is now."""
    binds = []
    for bind in layout.binds:
        directory = directory_for(bind.source, places)
        binds.append(Bind(places[directory] + bind.source.removeprefix(directory), bind.dest))
    return replace(layout, binds=tuple(binds))


def directory_for(source: str, directories: Iterable[str]) -> str:
    """The one of these that holds a source."""
    own = _directory_of(source)
    return own if own in directories else next(other for other in directories if _holds(other, own))


def _directory_of(source: str) -> str:
    return source if os.path.isdir(source) else os.path.dirname(source)


def _holds(directory: str, other: str) -> bool:
    return other.startswith(f"{directory}/") and os.stat(directory).st_dev == os.stat(other).st_dev


def package_root() -> Path:
    """The directory of the `aar` package that is running."""
    return Path(__file__).resolve().parents[2]


def _system() -> Iterable[Bind]:
    """The C library and its like, the dynamic linker, and prlimit; not the rest of /usr."""
    libraries = Path("/usr/lib") / str(
        sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    )
    if not libraries.is_dir():
        raise SandboxUnavailable(
            f"no {libraries}: sandboxes are built for the library paths of Debian and Ubuntu"
        )
    yield Bind(str(libraries), str(libraries))
    for folder in (Path("/usr/lib64"), Path("/usr/lib")):
        for linker in sorted(folder.glob("ld-linux*.so*")):
            yield Bind(str(linker.resolve()), str(linker))
    if not os.path.exists(PRLIMIT):
        raise SandboxUnavailable(f"no {PRLIMIT}: type `sudo apt-get install util-linux`")
    yield Bind(PRLIMIT, PRLIMIT)


def _python() -> Iterable[Bind]:
    """The base interpreter, its standard library, its shared library where it has one."""
    program = Path(os.path.realpath(sys.executable))
    yield Bind(str(program), PYTHON)
    yield Bind(str(_stdlib()), f"/opt/py/{sys.platlibdir}/{_python_name()}")
    for library in sorted(Path(sys.base_prefix, "lib").glob("libpython3*.so.*")):
        yield Bind(str(library.resolve()), f"/opt/py/lib/{library.name}")


def _our_code() -> Iterable[Bind]:
    root = package_root()
    if (root / "__init__.py").is_file():
        yield Bind(str(root / "__init__.py"), "/opt/aar/aar/__init__.py")
    for name in MAY_ENTER_SANDBOX_OF_OURS:
        if (root / name).is_dir():
            yield Bind(str(root / name), f"/opt/aar/aar/{name}")


@lru_cache(maxsize=64)
def _package(name: str) -> tuple[Bind, ...]:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        if name in _NEEDED:
            raise SandboxUnavailable(
                f"{name} is not installed for {sys.executable}: install the package's dependencies"
            )
        return ()
    origin = Path(os.path.realpath(found.origin))
    path = origin.parent if found.submodule_search_locations is not None else origin
    own = Bind(str(path), f"/opt/site/{Path(found.origin).name if path == origin else name}")
    libraries = path.parent / _LIBRARIES_OF.get(name, ".none")
    return (own, Bind(str(libraries), f"/opt/site/{libraries.name}")) if libraries.is_dir() else (own,)


def _stdlib() -> Path:
    return Path(os.path.realpath(os.__file__)).parent


def _python_name() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"
