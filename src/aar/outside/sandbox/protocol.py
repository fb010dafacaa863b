"""What client and launcher say to each other: one packet with file descriptors for each request.

A request is JSON with, as its first descriptor, the socket for its answers. "start" adds standard input,
output and error, then one descriptor for each file in the order of the spec. Answers: {"refused": why}, or
{"started": name} and at the end {"exit": [...]}. A word back on that socket, "kill" or "output", or its end,
kills the sandbox; "begin" starts the clocks of one that waits, and once its walls are seen is answered with
{"begun": name}. "usage" is answered with what all sandboxes used, "used", to the launcher's owner alone, with
what those of each researcher's slot did.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from aar.outside.sandbox.spec import MalformedSpec, SandboxSpec

REQUEST_BYTES = 180_000  # one packet; below the default socket buffer
REQUEST_DESCRIPTORS = 80


def format_spec(spec: SandboxSpec) -> dict[str, Any]:
    """The JSON form of a spec: `files` holds destinations only, in order."""
    fields = asdict(spec)
    fields["files"] = list(spec.files)
    return fields


def parse_spec(fields: dict[str, Any]) -> SandboxSpec:
    """Invert `format_spec`; contents stay empty, they travel as file descriptors."""
    try:
        return SandboxSpec(
            **{**fields, "argv": tuple(fields["argv"]), "files": dict.fromkeys(fields["files"], b"")}
        )
    except (KeyError, TypeError) as error:
        raise MalformedSpec(f"start request: {error}; client and launcher must be of one version") from error


def memory_file(content: bytes) -> int:
    """A descriptor that reads `content` from its start: no path, no command line, nothing left behind."""
    descriptor = os.memfd_create("aar", os.MFD_CLOEXEC)
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, memoryview(content)[written:], written)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
