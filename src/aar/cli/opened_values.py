"""What opened values say of several methods at once: Holm over those confirmed, the best of so many tries.

Only of a study that was verified, and only where all that counts is open: a correction for the number of
tries that leaves out tries is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aar.outside.projection import Projection
from aar.verify.comparisons import best_of_runs, compared
from aar.verify.payload import Payload, parse_payload

Key = tuple[str, str]
"""A method's digest and its researcher: one row of the leaderboard."""


def comparisons_of(record: Path, projection: Projection) -> dict[Key, dict[str, Any]]:
    """Per method: `holm_p`, and `best_of` where it is the best of several tries of its researcher.

    `holm_p` is of no difference to the plain student, adjusted for all confirmed methods (Holm 1979).
    `best_of` has the number of `tries` and the exact explored `pgr` of the best one with its interval,
    corrected for having been picked (`verify.statistics.best_of`).
    """
    group = projection.opened["pool"]["group"] if projection.opened else 1
    found: dict[Key, dict[str, Any]] = {}
    confirmed = _opened(record, projection, "confirm")
    if confirmed is not None:
        for (key, _payload), one in zip(
            confirmed.items(),
            compared(
                {str(number): payload for number, payload in enumerate(confirmed.values())}, group=group
            ),
            strict=True,
        ):
            found.setdefault(key, {})["holm_p"] = round(one.adjusted, 6)
    for researcher in projection.researchers:
        tries = _opened(record, projection, "explore", researcher)
        if tries is None or len(tries) < 2:
            continue
        try:
            best = best_of_runs(list(tries.values()), group=group)
        except ValueError:
            # All of them answer like the teacher: nothing varies, and nothing was picked.
            continue
        told = {"pgr": best.estimate, "low": best.low, "high": best.high}
        found.setdefault(list(tries)[best.place], {})["best_of"] = {
            "tries": len(tries),
            **{name: round(value, 4) for name, value in told.items()},
        }
    return found


def comparison_lines(names: Mapping[Key, str], found: Mapping[Key, Mapping[str, Any]]) -> Iterable[str]:
    """The same for people; `names` has the method of each row."""
    for key, told in found.items():
        name = names.get(key, f"method {key[0][:12]}")
        if "holm_p" in told:
            yield (
                f"    {name} by {key[1]}: confirmed; against the plain student p {told['holm_p']:.2g} "
                "(Holm, over all that were confirmed)"
            )
        if "best_of" in told:
            best = told["best_of"]
            yield (
                f"    {name} is the best of {best['tries']} tries of {key[1]}: corrected for that, "
                f"explored PGR {best['pgr']:.2f} [{best['low']:.2f}, {best['high']:.2f}]"
            )


def _opened(
    record: Path, projection: Projection, tier: str, researcher: str | None = None
) -> dict[Key, Payload] | None:
    """The public halves of all scored runs of a tier, each method once; `None` where one is not open."""
    payloads: dict[Key, Payload] = {}
    for index, receipt in projection.receipts.items():
        if receipt["tier"] != tier or not receipt["commitments"]:
            continue
        if researcher is not None and receipt["researcher"] != researcher:
            continue
        told = projection.revealed.get((index, "public"))
        if told is None or told["blob"]["sha256"] in projection.redacted:
            return None
        data = (record / "blobs" / told["blob"]["sha256"]).read_bytes()
        payloads[receipt["digest"], receipt["researcher"]] = parse_payload(data)
    return payloads
