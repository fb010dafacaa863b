"""A gateway process and its witness, with a study of two researchers; scores are a test's word."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from aar.formats.keys import Signer, format_vkey
from aar.inside.gateway_client import GatewayClient
from aar.outside.control_plane import ControlPlane, RunParameters
from aar.outside.staff_client import StaffClient
from aar.outside.study_directory import StudyDirectory, service_uids
from forge import TASK_TERMS
from outside.test_admission import opening

OPERATOR, REVIEWER, EVALUATOR = (
    Signer(name, bytes([number]) * 32)
    for number, name in enumerate(("operator", "reviewer-a", "evaluator"), 1)
)
RESEARCHERS = ("researcher-1", "researcher-2")
METHOD = {"method.py": "def predict(instance, rng):\n    return instance.test_x[:, 0] * 0 + 0.5\n"}


class RealGateway:
    """`with RealGateway(directory) as gateway`: processes as in a study, but for an evaluator's."""

    def __init__(self, directory: Path, *, submissions: int = 20, **more: Any) -> None:
        self.study = StudyDirectory(directory / "study")
        self.study.create("", service_uids())
        parameters = RunParameters(problem="digits", seeds=1, replicates=1, draws=10)
        self.plane = ControlPlane(self.study, researchers=RESEARCHERS, parameters=parameters, **more)
        self._submissions = submissions

    def __enter__(self) -> RealGateway:
        try:
            self.plane.start(opening=False, with_evaluator=False)
            self._open()
        except BaseException:
            self.plane.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.plane.stop()

    def _open(self) -> None:
        plane = self.plane
        assert plane.log_key is not None
        assert plane.witness_key is not None
        mine = ((OPERATOR, "operator"), (REVIEWER, "reviewer"), (EVALUATOR, "evaluator"))
        keys = [{"name": one.name, "role": role, "vkey": format_vkey(one.vkey)} for one, role in mine]
        for name in ("gateway", "monitor", *RESEARCHERS):
            role = name if name in ("gateway", "monitor") else "researcher"
            keys.append({"name": name, "role": role, "vkey": plane.gateway_keys[name]})
        budget = {"submissions": 3 * self._submissions, "confirmations": 4, "seconds": 3_600}
        body = opening(
            keys=keys,
            log=format_vkey(plane.log_key),
            witnesses=[format_vkey(plane.witness_key)],
            quorum=1,
            budget=budget,
        )
        plane.control.append([OPERATOR, REVIEWER], "study-opened", body)
        for name in ("t1", "t2", "t3"):
            task = {"task": name, "title": f"Task {name}", "direction": "neighbours", "workflow": "free"}
            task |= {"steps": [], "submissions": self._submissions, **TASK_TERMS}
            plane.control.append([REVIEWER], "task-opened", task)

    def socket(self, researcher: str = "researcher-1", name: str = "gw.sock") -> Path:
        return self.plane.gateway_directory(researcher) / name

    def client(self, researcher: str = "researcher-1") -> GatewayClient:
        return GatewayClient(str(self.socket(researcher)), waits_for_resume=False)

    def score(self, submission: int, pgr: str = "0.4000") -> int:
        """The evaluator's receipt of a submission: its index."""
        released = {"pgr": pgr, "low": "0.3000", "high": "0.5000", "improved": 1}
        return self._receipt(submission, "explore", released)

    def score_confirmation(self, submission: int) -> int:
        told = dict.fromkeys(("difference", "difference_low", "difference_high"), "0.1000")
        return self._receipt(
            submission, "confirm", {"pgr": "0.3900", "low": "0.3000", "high": "0.5000", **told}
        )

    def _receipt(self, submission: int, tier: str, released: dict[str, Any]) -> int:
        evaluator = StaffClient(str(self.plane.gateway_directory("evaluator.sock")))
        (entry,) = (
            one for one in self.entries() if one["index"] == submission and one["kind"] == "submission"
        )
        body = {
            "submission": submission,
            "digest": entry["body"]["digest"],
            "researcher": entry["body"]["researcher"],
            "tier": tier,
            "problem": "digits",
            "outcome": "scored",
            "reason": "",
            "seeds": [1],
            "released": released,
            "commitments": {"public": "0" * 64, "sealed": "1" * 64},
        }
        answer = evaluator.append([EVALUATOR], "score-receipt", body, refs=[submission])
        index: int = answer["index"]
        return index

    def entries(self) -> list[dict[str, Any]]:
        """What the first researcher may read."""
        return self.client().forum()[0]

    def alarms(self) -> list[str]:
        """The codes of the alarms so far, as the control socket counts them."""
        status = self.plane.control.get("/v1/status")
        return [one["code"] for one in status["alarms"]]
