"""The second path to a root: leaves as they are on the disk, hashed by the verifier's code.

Holds the right edge of the tree and no more: enough to extend it and to name its root.
"""

from __future__ import annotations

from aar.verify import merkle


class Frontier:
    """Roots of the complete subtrees that a growing tree is made of, the largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> bytes:
        """Add a leaf by its bytes; returns its hash."""
        leaf_hash = peak = merkle.leaf_hash(leaf)
        size = self.size
        while size & 1:
            peak = merkle.node_hash(self._peaks.pop(), peak)
            size >>= 1
        self._peaks.append(peak)
        self.size += 1
        return leaf_hash

    def root(self) -> bytes:
        if not self._peaks:
            return merkle.EMPTY_ROOT
        *rest, root = self._peaks
        for peak in reversed(rest):
            root = merkle.node_hash(peak, root)
        return root
