"""``aar redteam record DIR``: every way we know to falsify a record, tried on copies of a study."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from aar.cli.config import config_directory, load_key
from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_OK, EXIT_TAMPERED
from aar.cli.output import say, say_json
from aar.cli.safe_text import typed
from aar.formats.keys import Signer
from aar.outside.redteam.attack import ATTACKS, Attack
from aar.outside.redteam.laboratory import Trial, attacks_named, run_trials
from aar.outside.redteam.specimen import Specimen, read_specimen
from aar.verify.study import verify_study

MOST_SEEDS = 10_000


def redteam(options: argparse.Namespace) -> int:
    """Attack copies of a study's record; 1 when something that can be seen was not seen as it should."""
    attacks = _chosen(options.attack)
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise CommandFailed(f"--seeds {options.seeds}: want 1 to {MOST_SEEDS}")
    specimen = _specimen(Path(options.dir), options.key)
    with tempfile.TemporaryDirectory(prefix="aar-redteam-") as scratch:
        trials = []
        shown: list[Trial] = []
        for trial in run_trials(specimen, attacks, range(options.seeds), Path(scratch)):
            trials.append(trial)
            shown.append(trial)
            if trial.seed == options.seeds - 1:
                if not options.json:
                    _say_row(shown, is_first=len(trials) == len(shown))
                shown = []
    if options.json:
        say_json([trial.as_json() for trial in trials], indent=1)
    else:
        _say_sum(trials)
    return EXIT_OK if all(trial.is_as_expected for trial in trials) else EXIT_TAMPERED


def _chosen(names: list[str]) -> list[Attack]:
    try:
        return attacks_named(names)
    except KeyError as error:
        known = ", ".join(ATTACKS)
        raise CommandFailed(f"--attack {error.args[0]}: there is no such attack; there is: {known}") from None


def _specimen(directory: Path, key: str | None) -> Specimen:
    """The study, which must hold: of one that does not, no finding could be told from the attack's."""
    if not directory.is_dir():
        raise CommandFailed(f"{directory}: there is no such directory; name a study's")
    report = verify_study(directory)
    if report.verdict == "cannot-judge":
        raise CommandFailed(f"{report.reason}; name the directory of a study")
    if report.verdict != "ok":
        first = report.findings[0]
        raise CommandFailed(
            f"{directory} does not hold itself ({first.code} in {first.resource}), so nothing shows on it; "
            f"./aar verify {typed(directory)} says more"
        )
    return read_specimen(directory, _own_keys(key))


def _own_keys(path: str | None) -> Iterable[Signer]:
    """The reviewer's key, if there is one: it lies in no study. None is made for this."""
    if path is not None:
        return [load_key(Path(path))]
    own = config_directory() / "reviewer.key"
    return [load_key(own)] if own.is_file() else []


def _say_row(trials: list[Trial], *, is_first: bool) -> None:
    """One attack: of several seeds the first that went wrong, else the last."""
    if is_first:
        say(
            f"{'attack':<28} {'attacker holds':<34} {'reader holds':<32} {'expected':<20} {'found':<20} "
            f"{'index':>7} {'found':>7} {'s':>7}"
        )
    worst = next((one for one in trials if not one.is_as_expected), trials[-1])
    attack = worst.attack
    head = f"{attack.name:<28} {' '.join(attack.keys) or 'no key':<34} {attack.holds:<32} "
    if worst.left_out:
        say(f"{head}left out: {worst.left_out}")
        return
    seconds = sum(one.forge_s + one.verify_s for one in trials) / len(trials)
    mark = "" if worst.is_as_expected else f"  WRONG (seed {worst.seed})"
    say(
        f"{head}{attack.code:<20} {worst.found:<20} {_index(worst.expected_index):>7} "
        f"{_index(worst.found_index):>7} {seconds:>7.3f}{mark}"
    )


def _index(index: int) -> str:
    return str(index) if index >= 0 else "-"


def _say_sum(trials: list[Trial]) -> None:
    tried = [one for one in trials if not one.left_out]
    visible = [one for one in tried if one.attack.is_visible]
    seen = [one for one in visible if one.is_as_expected]
    unseen = {one.attack.name: one.attack for one in tried if not one.attack.is_visible}
    left_out = {one.attack.name for one in trials if one.left_out} - {one.attack.name for one in tried}
    if unseen:
        say()
        say("cannot be seen in one copy with what the reader holds there:")
        for attack in unseen.values():
            say(f"  {attack.name}: {attack.index}")
    say()
    classes = len({one.attack.name for one in visible})
    say(
        f"{len(seen)} of {len(visible)} attacks of {classes} classes seen with the right code and first index"
    )
    if left_out:
        say(f"{len(left_out)} classes were left out: their keys or their material are not in this study")
    wrong = [one for one in tried if not one.is_as_expected]
    if wrong:
        say(f"WRONG: {len(wrong)} attacks were not reported as they should be")
