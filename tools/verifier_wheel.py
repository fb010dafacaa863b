"""Makes a wheel of the verifier alone, for an auditor who wants nothing else of us: aar.verify, aar.formats.

    .venv/bin/python tools/verifier_wheel.py [--out DIR]

The wheel is `aar_verify-VERSION-py3-none-any.whl`; it needs PyNaCl and installs the command `aar-verify`. No
build back end is asked: a wheel is a zip file with a list of its hashes (PyPI's "binary distribution
format"). The same sources give the same bytes, so that two people can compare what they built. It holds
packages that the wheel of the whole project holds too: install one or the other.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "aar-verify"
PACKAGES = ("formats", "verify")
# The first moment that a zip file can state: no clock is in it.
NO_TIME = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644 << 16


def metadata(version: str) -> str:
    """The METADATA file: the version is the project's, the one dependency as the project declares it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [one for one in project["dependencies"] if one.startswith("pynacl")]
    return "".join(
        f"{line}\n"
        for line in (
            "Metadata-Version: 2.4",
            f"Name: {NAME}",
            f"Version: {version}",
            "Summary: Verifies the record of a study of aar: standard library and PyNaCl only",
            f"License-Expression: {project['license']}",
            "License-File: LICENSE",
            f"Requires-Python: {project['requires-python']}",
            *(f"Requires-Dist: {one}" for one in needed),
        )
    )


def contents() -> dict[str, bytes]:
    """Every file of the wheel but its RECORD, by path."""
    source = ROOT / "src" / "aar"
    files = {"aar/__init__.py": (source / "__init__.py").read_bytes(), "aar/py.typed": b""}
    for package in PACKAGES:
        for path in sorted((source / package).glob("*.py")):
            files[f"aar/{package}/{path.name}"] = path.read_bytes()
    found = re.search('__version__ = "([^"]+)"', files["aar/__init__.py"].decode("utf-8"))
    if found is None:
        raise SystemExit(f"{source / '__init__.py'} states no __version__")
    about = f"aar_verify-{found[1]}.dist-info"
    files[f"{about}/METADATA"] = metadata(found[1]).encode()
    files[f"{about}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: aar\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{about}/entry_points.txt"] = b"[console_scripts]\naar-verify = aar.verify.__main__:main\n"
    files[f"{about}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return files


def build(out: Path) -> Path:
    """Write the wheel into that directory; its path."""
    files = contents()
    about = next(path for path in files if path.endswith("/METADATA")).removesuffix("/METADATA")
    lines = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{about}/RECORD"] = "".join(f"{line}\n" for line in [*lines, f"{about}/RECORD,,"]).encode()
    wheel = out / f"{about.removesuffix('.dist-info')}-py3-none-any.whl"
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for path, data in files.items():
            item = zipfile.ZipInfo(path, NO_TIME)
            item.external_attr = FILE_MODE
            item.create_system = 3
            archive.writestr(item, data)
    return wheel


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR")
    options = parser.parse_args(arguments)
    wheel = build(options.out)
    print(f"{wheel}\nSHA-256 {hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
