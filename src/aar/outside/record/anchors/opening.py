"""Opening an anchor by what the study file says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aar.outside.record.anchors.anchor import Anchor, AnchorRefused
from aar.outside.record.anchors.directory import DirectoryAnchor
from aar.outside.record.anchors.mirror import Mirror
from aar.outside.record.anchors.s3 import S3Anchor, connect
from aar.outside.record.disk import Disk

# Where this process finds what it has opened, whatever lies above it and whoever it has become.
OPENED = Path("/proc/self/fd")


class _Below(Disk):
    """What lies below opened directories; their own names are not for this process to make durable."""

    def sync_directory(self, path: Path) -> None:
        if path != OPENED:
            super().sync_directory(path)


def open_anchor(spec: Mapping[str, Any]) -> Anchor:
    """The anchor; a directory is opened by this uid, and used later whatever lies above it.

    Raises `AnchorRefused`. Nothing is tried yet: that is `probe`.
    """
    name = str(spec["name"])
    if spec["kind"] == "s3":
        client = connect(region=spec["region"], endpoint=spec["endpoint"])
        return S3Anchor(
            name,
            client,
            bucket=spec["bucket"],
            prefix=spec["prefix"],
            retain_days=spec["retain_days"],
        )
    try:
        descriptor = os.open(spec["path"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AnchorRefused(f"anchor {name}: {spec['path']}: {error.strerror}") from error
    path = OPENED / str(descriptor)
    if spec["kind"] == "mirror":
        return Mirror(name, path, disk=_Below())
    return DirectoryAnchor(name, path, is_append_only_wanted=spec["append_only"], disk=_Below())
