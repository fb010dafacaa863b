"""Streams: random integers that are the same for the same words, on every machine and with every numpy.

numpy promises the raw output of a bit generator for ever, and of nothing built on top of it. So only raw
words are taken, and all that follows is integer arithmetic: no float is rounded here, by any library.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# The sum of twelve uniform 16-bit numbers has this mean and, but for one part in 10^9, this deviation.
_SUM_MEAN, _SUM_DEVIATION_BITS = 6 * 65_535, 16
_WORDS_PER_NORMAL = 3


class Stream:
    """Random integers named by words, such as a seed and what they are for."""

    def __init__(self, *words: object) -> None:
        text = "aar-simulation/v1\n" + "".join(f"{word}\n" for word in words)
        key = hashlib.sha256(text.encode()).digest()[:16]
        self._bits = np.random.Philox(key=int.from_bytes(key, "big"))

    def raw(self, count: int) -> npt.NDArray[np.uint64]:
        """`count` words of 64 bits."""
        return self._bits.random_raw(count)

    def words(self, *shape: int) -> npt.NDArray[np.uint64]:
        """Words of 32 bits, of that shape."""
        count = int(np.prod(shape, dtype=np.int64))
        raw = self.raw((count + 1) // 2)
        return np.concatenate([raw >> _HALF, raw & _LOW])[:count].reshape(shape)

    def below(self, limits: npt.ArrayLike) -> Integers:
        """One integer from 0 to each limit, the limit left out; limits are at most 2^31.

        >>> [int(Stream("doctest").below(limit)) < limit for limit in (1, 2, 3)]
        [True, True, True]
        """
        bounds = np.asarray(limits, dtype=np.uint64)
        return ((self.words(*bounds.shape) * bounds) >> _HALF).astype(np.int64)

    def integer(self, limit: int) -> int:
        """One integer from 0 to `limit`, which is left out."""
        return (int(self.raw(1)[0]) >> 32) * limit >> 32

    def noise(self, deviations: npt.ArrayLike) -> Integers:
        """For each deviation one integer, near normally distributed around 0 (Irwin-Hall of twelve)."""
        scales = np.asarray(deviations, dtype=np.int64)
        raw = self.raw(_WORDS_PER_NORMAL * scales.size).reshape(_WORDS_PER_NORMAL, scales.size)
        total = np.zeros(scales.size, dtype=np.int64)
        for shift in (0, 16, 32, 48):
            total += ((raw >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64).sum(axis=0)
        return ((total.reshape(scales.shape) - _SUM_MEAN) * scales) >> _SUM_DEVIATION_BITS

    def flips(self, count: int, chance: int) -> npt.NDArray[np.bool_]:
        """`count` coins that fall on heads with `chance` in 10,000."""
        raw = self.raw((count + 3) // 4)
        parts = [(raw >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
        return np.concatenate(parts)[:count].astype(np.int64) * 10_000 < chance * 65_536
