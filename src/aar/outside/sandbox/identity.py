"""Under which host uid a sandbox runs: one of its own where we are root, else ours."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from aar.outside.sandbox.spec import SandboxUnavailable

# Far above accounts, containers' ranges and systemd's dynamic users.
_FIRST_UID = 1_900_001_000


def slot_uid(slot: int) -> int | None:
    """The host uid (and gid) of sandboxes in that slot, or None where they run as the caller.

    Give a gateway socket to this uid before its sandbox starts. Raises `SandboxUnavailable` when we are root
    but may use no other id: a sandbox must never be the host's uid 0, which writes /proc/sys without any
    capability.
    """
    if os.geteuid() != 0:
        return None
    return uid_for(slot, _id_map("/proc/self/uid_map"), _id_map("/proc/self/gid_map"))


def uid_for(slot: int, uids: list[tuple[int, int, int]], gids: list[tuple[int, int, int]]) -> int | None:
    """`slot_uid` for root, given both id maps as (first inside, first outside, count)."""
    if _is_mapped(_FIRST_UID + slot, uids) and _is_mapped(_FIRST_UID + slot, gids):
        return _FIRST_UID + slot
    # A container's range: take ids from its far end, where no image has accounts.
    inside, _, count = max(uids, key=lambda row: row[0] + row[2])
    candidate = inside + count - 1 - slot
    if candidate >= max(inside, 1000) and _is_mapped(candidate, gids):
        return candidate
    if any(outside == 0 for _, outside, _ in uids):
        raise SandboxUnavailable(
            f"root, but no id for sandbox slot {slot} in /proc/self/uid_map: run as an ordinary user, "
            "or give the container a range of at least 65536 ids"
        )
    return None


def _is_mapped(number: int, rows: list[tuple[int, int, int]]) -> bool:
    return any(inside <= number < inside + count for inside, _, count in rows)


@lru_cache(maxsize=2)
def _id_map(path: str) -> list[tuple[int, int, int]]:
    """Written once, before whoever has it runs."""
    rows = [line.split() for line in Path(path).read_text().splitlines()]
    return [(int(inside), int(outside), int(count)) for inside, outside, count in rows]
