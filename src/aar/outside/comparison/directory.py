"""The directory of an A/B: the plan, the study files, one witness for all runs, and the runs themselves.

```
DIR/plan.json          a copy of the plan; what binds is entry 0 of the runs' records
DIR/studies/           PROBLEM-ARM.toml: what each run is started with; their digests are in the plan
DIR/witness/           one witness, which remembers the log of every run
DIR/runs/001/          a study as any other; DIR/report.md, .json, .svg and .png at the end
```
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.comparison.plan import Plan, PlanError, format_plan, parse_plan
from aar.outside.keyring import write_durably
from aar.outside.study_directory import NotAStudy, StudyDirectory, StudyInUse
from aar.outside.study_file import StudyFile, parse_study

PLAN = "plan.json"
# A plan is a text of the record, which has at most 8,000 characters.
MOST_PLAN_BYTES = 65_536


class ComparisonDirectory:
    """Paths of one comparison, and what is written there before the first run."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.plan_file = self.path / PLAN
        self.studies = self.path / "studies"
        self.witness = self.path / "witness"
        self.runs = self.path / "runs"

    def study(self, number: int) -> StudyDirectory:
        """The study of a run."""
        return StudyDirectory(self.runs / f"{number:03}")

    @property
    def is_comparison(self) -> bool:
        return self.plan_file.exists() or self.study(1).is_study

    @property
    def is_bare(self) -> bool:
        """Whether nothing is there but what a crash before the plan was written may leave."""
        names = {one.name for one in self.path.iterdir()} if self.path.is_dir() else set()
        is_begun = self.runs.is_dir() and any(self.runs.iterdir())
        return names <= {self.studies.name, self.runs.name, "lock"} and not is_begun

    def check_new(self) -> None:
        """Raise `NotAStudy` where something else lies already."""
        if self.path.exists() and not self.path.is_dir():
            raise NotAStudy(f"{self.path} is a file; name a directory for the comparison")
        if not self.is_bare:
            raise NotAStudy(f"{self.path} is not empty and not a comparison; name a new directory")

    def create(self, plan: Plan, studies: Mapping[tuple[str, str], StudyFile]) -> None:
        """Make it, or finish making it where a crash cut that short; the plan's file is written last."""
        for path in (self.path, self.studies, self.runs):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.chmod(0o755)
        for (problem, arm), study in studies.items():
            write_durably(self._study_file(problem, arm), study.text.encode(), mode=0o644)
        write_durably(self.plan_file, format_plan(plan).encode() + b"\n", mode=0o644)

    def written_plan(self) -> Plan | None:
        """The copy of the plan, `None` where there is none; raises `PlanError`."""
        try:
            # A pipe in the place of the file would keep us waiting, a device has no end.
            if not stat.S_ISREG(self.plan_file.stat().st_mode):
                raise PlanError("not a file: put back the plan")
            with self.plan_file.open("rb") as file:
                text = file.read(MOST_PLAN_BYTES).decode()
            return parse_plan(text.removesuffix("\n"))
        except FileNotFoundError:
            return None
        except (UnicodeDecodeError, PlanError) as error:
            raise PlanError(f"{self.plan_file}: {error}") from error

    def study_files(self, plan: Plan) -> dict[tuple[str, str], StudyFile]:
        """What each run is started with; `PlanError` where a file is not the one that the plan names."""
        found = {}
        for (problem, arm), digest in plan.files.items():
            path = self._study_file(problem, arm)
            try:
                data = path.read_bytes()
            except OSError as error:
                raise PlanError(f"{path} cannot be read: {error.strerror}; the plan names it") from error
            if hashlib.sha256(data).hexdigest() != digest:
                raise PlanError(
                    f"{path} is not the study file of the plan: its SHA-256 is "
                    f"{hashlib.sha256(data).hexdigest()[:16]}..., the plan says {digest[:16]}...; put it back"
                )
            found[problem, arm] = parse_study(data.decode(), source=str(path), problems=STUDY_PROBLEMS)
        return found

    def prepare_witness(self, uid: int) -> None:
        """Make the directory of the witness of all runs, `uid`'s own (0: the caller's)."""
        if not self.witness.exists():
            self.witness.mkdir(mode=0o755)
            self.witness.chmod(0o755)
        if uid:
            os.chown(self.witness, uid, uid)

    def _study_file(self, problem: str, arm: str) -> Path:
        return self.studies / f"{problem}-{arm}.toml"

    def was_witnessed(self, origin: str) -> bool:
        """Whether the witness of all runs remembers a log of that origin."""
        name = hashlib.sha256(origin.encode()).hexdigest()
        return (self.witness / "state" / name / "checkpoint").exists()

    def lock(self) -> None:
        """Hold this comparison until the process ends; raises `StudyInUse`."""
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StudyInUse(f"{self.path} is in use by another ./aar ab; wait for it or stop it") from error
