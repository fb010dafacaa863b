"""The command line: ``aar COMMAND``. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from aar import __version__

EXIT_OK = 0
EXIT_TAMPERED = 1
EXIT_BAD_INPUT = 2
EXIT_NO_BACKEND = 3
EXIT_LEAK = 4
EXIT_CUT_OFF = 5
EXIT_NOT_CLEARED = 6
EXIT_FAULT = 70
EXIT_SANDBOX_ENDED = 125
EXIT_INTERRUPTED = 130

# Small matrices: more threads of linear algebra only wait for each other, and a sandbox has one. To be set
# before numpy is loaded.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    from aar.cli.output import prepare_streams

    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    prepare_streams()
    options = build_parser().parse_args(arguments)
    command: Command = options.command
    from aar.cli.failures import run_reporting_failures

    return run_reporting_failures(command, options)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="aar",
        description="Teams of automated alignment researchers, with a record that nobody can quietly change.",
        epilog="exit: 0 all holds, 1 tampered with, 2 bad input or cannot judge, 3 no sandbox backend, "
        "4 a sandbox probe leaked, 5 cut off (run --dir goes on), "
        "6 a review says hold or no-go, 70 a fault of aar, 130 stopped by Ctrl-C; "
        "sandbox exec: the command's own, 125 it has none",
    )
    parser.add_argument("--version", action="version", version=f"aar {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _add(
        commands, "run", "run a study (the embedded default without an argument), or go on with one", _run
    )
    run.add_argument("study", nargs="?", metavar="STUDY.toml", help="study file; default: the embedded study")
    run.add_argument("--dir", metavar="DIR", help="study directory; an existing study goes on")
    run.add_argument("--researchers", type=int, metavar="N", help="how many researchers")
    run.add_argument("--minutes", type=float, metavar="M", help="time budget")
    run.add_argument(
        "--model",
        metavar="PROVIDER/NAME",
        help="researchers are this language model, unless the study file says what they are",
    )
    run.add_argument(
        "--agent",
        metavar="NAME",
        help="models think through claude-code or codex, inside their sandboxes",
    )
    run.add_argument("--agent-binary", metavar="PATH", help="where that program is; by default on your PATH")
    run.add_argument(
        "--monitor", metavar="PROVIDER/NAME", help="this language model reads what researchers say and do"
    )
    run.add_argument("--prices", metavar="FILE", help="dollars for a million tokens, before the shipped ones")
    run.add_argument("--tokens", type=int, metavar="N", help="limit of all models together")
    run.add_argument("--dollars", metavar="D", help="limit of all models together, such as 12.50")
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="print brief, tools, limits and expected cost; make nothing",
    )
    run.add_argument("--json", action="store_true", help="print one JSON summary and nothing else")
    run.add_argument("--no-picture", action="store_true", help="draw nothing at the end (a second or two)")
    _add_backend(run, default=None)
    run.add_argument(
        "--key", metavar="FILE", help="the reviewer's key; default: in the user's config directory"
    )

    verify = _add(commands, "verify", "check everything a study's record claims", _verify)
    verify.add_argument("dir", metavar="DIR")
    verify.add_argument(
        "--policy", metavar="FILE", help="trust these keys instead of the pinned or the study's own"
    )
    verify.add_argument(
        "--receipt", action="append", default=[], metavar="FILE", help="a proof of one entry that you kept"
    )
    verify.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="DIR",
        help="what was written elsewhere as the record grew: a write-once directory or a mirror",
    )
    verify.add_argument(
        "--max-age", type=int, metavar="SECONDS", help="how old the newest cosignature may be"
    )
    verify.add_argument(
        "--incremental",
        action="store_true",
        help="read only what is new since you last verified it: the log and its authors, not the numbers",
    )
    verify.add_argument(
        "--evidence", metavar="DIR", help="write there, for each finding, files that show it to others"
    )
    verify.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 65),
        default=1,
        metavar="N",
        help="check signatures in so many processes; 1, the default, is this one",
    )
    verify.add_argument("--json", action="store_true")

    record = _add(commands, "record", "print entries as JSON lines", _record)
    record.add_argument("dir", metavar="DIR")
    record.add_argument("--kind", metavar="K")
    record.add_argument("--author", metavar="A")

    forum = _add(commands, "forum", "show findings as threads", _forum)
    forum.add_argument("dir", metavar="DIR")

    leaderboard = _add(commands, "leaderboard", "methods ranked from score receipts", _leaderboard)
    leaderboard.add_argument("dir", metavar="DIR")
    leaderboard.add_argument("--json", action="store_true")

    status = _add(commands, "status", "tasks, researchers, budgets, alarms", _status)
    status.add_argument("dir", metavar="DIR")
    status.add_argument("--json", action="store_true")

    task = _add(commands, "task", "the task queue: add, list, approve, refuse", _task)
    task.add_argument("dir", metavar="DIR")
    task.add_argument("action", choices=("add", "list", "approve", "refuse"))
    task.add_argument(
        "number", nargs="?", type=int, metavar="N", help="index of a proposed task (approve, refuse)"
    )
    task.add_argument("--name", metavar="NAME", help="name of the new task")
    task.add_argument("--title", metavar="TEXT")
    task.add_argument("--direction", metavar="TEXT", default="")
    task.add_argument("--workflow", choices=("free", "fixed", "hybrid"), default="free")
    task.add_argument(
        "--family",
        action="append",
        default=[],
        metavar="NAME",
        help="a family of ideas that a hybrid task leaves free, repeated",
    )
    task.add_argument(
        "--step-submissions", type=int, default=4, metavar="N", help="of a hybrid task, per step of a plan"
    )
    task.add_argument(
        "--priority",
        type=int,
        choices=range(10),
        default=0,
        metavar="0-9",
        help="a higher one goes out first",
    )
    task.add_argument("--risk", choices=("low", "medium", "high"), default="low")
    _add_limits(task, "add, approve: ")
    task.add_argument(
        "--step",
        action="append",
        default=[],
        metavar="NAME=PIPELINE",
        help="a step of a fixed workflow, as JSON; repeat for more",
    )
    task.add_argument("--submissions", type=int, metavar="N", default=6)
    task.add_argument("--note", metavar="TEXT", default="", help="the reason, as it will stand in the record")
    task.add_argument("--key", metavar="FILE")
    task.add_argument("--json", action="store_true")

    review = _add(
        commands,
        "review",
        "the human gate: list, show, publish, retract, refine, heldout, answer, release, keep-held",
        _review,
    )
    review.add_argument("dir", metavar="DIR")
    review.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=(
            *("list", "show", "publish", "retract", "refine"),
            *("heldout", "answer", "release", "keep-held"),
        ),
        help="heldout: run the method that result N claims on the problems held out, before the study ends; "
        "answer: say with --note what came of looking at alarm N; release, keep-held: let submission N go, "
        "which the monitor holds, or say that it stays",
    )
    review.add_argument(
        "number", nargs="?", type=int, metavar="N", help="index of a finding, an alarm or a submission"
    )
    review.add_argument("--note", metavar="TEXT", default="", help="what to say with the decision")
    review.add_argument(
        "--override", metavar="REASON", default="", help="publish although the checklist fails: why"
    )
    review.add_argument("--key", metavar="FILE")
    review.add_argument("--json", action="store_true")

    for name, text, of_one, command in (
        ("pause", "stop the queue: nothing is leased or handed in until a reviewer lifts it", "", _pause),
        (
            "resume",
            "lift the pause that holds, or a researcher's stop, in a reviewer's name",
            "lift its stop",
            _resume,
        ),
        ("stop", "end researchers: they get nothing until a reviewer resumes them", "end this one", _stop),
    ):
        stops = _add(commands, name, text, command)
        stops.add_argument("dir", metavar="DIR")
        if name != "pause":
            stops.add_argument(
                "researcher", nargs="?", metavar="RESEARCHER", help=f"{of_one}, instead of everybody"
            )
        stops.add_argument("--reason", metavar="TEXT", required=True, help="why; the record keeps it")
        stops.add_argument("--key", metavar="FILE")
        stops.add_argument("--json", action="store_true")

    _add_budget(commands)
    _add_trace(commands)
    _add_witness(commands)
    _add_receipt(commands)
    _add_lab(commands)
    _add_reproduce(commands)
    _add_oversight(commands)

    anchor = _add(commands, "anchor", "what an anchor of a study holds", _anchor)
    anchor.add_argument("action", choices=("fetch",), help="bring the first version of everything")
    anchor.add_argument("dir", metavar="DIR", help="a study that names the anchor")
    anchor.add_argument("name", metavar="NAME", help="of an anchor of kind s3")
    anchor.add_argument("out", metavar="OUT", help="a new directory; give it to verify --anchor")

    redteam = _add(
        commands,
        "redteam",
        "attack copies of a record, what scores give away, or a study; we must hold",
        _redteam,
    )
    whats = redteam.add_subparsers(required=True, metavar="WHAT", dest="what")
    on_record = whats.add_parser(
        "record",
        help="falsify copies of a study in every way we know; verify must notice",
        description="Falsify copies of a study in every way we know; verify must notice.",
    )
    on_record.add_argument("dir", metavar="DIR", help="a study that holds; it is only read")
    on_record.add_argument("--seeds", type=int, metavar="N", default=1, help="places to try for each attack")
    on_record.add_argument(
        "--attack", action="append", default=[], metavar="NAME", help="only this one; repeat for more"
    )
    on_record.add_argument(
        "--key", metavar="FILE", help="the reviewer's key; default: in the user's config directory"
    )
    on_record.add_argument("--json", action="store_true", help="print one JSON list and nothing else")
    on_scores = whats.add_parser(
        "scores",
        help="attack release rules with queries: what an attacker gains, what an honest search loses",
        description="Attack release rules: what an attacker gains, what an honest search loses.",
    )
    on_scores.add_argument(
        "--queries", metavar="N,N", default="200,1000", help="how many submissions; default 200,1000"
    )
    on_scores.add_argument(
        "--worlds", type=int, metavar="N", default=4, help="repetitions of each; default 4"
    )
    on_scores.add_argument("--seed", type=int, metavar="N", default=1)
    on_scores.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    _add_redteam_study(whats)

    _add_ab(commands)
    _add_simulate(commands)

    doctor = _add(commands, "doctor", "attack this machine's sandbox and say what got through", _doctor)
    doctor.add_argument("--json", action="store_true")
    _add_backend(doctor, default="bubblewrap")
    doctor.add_argument("--shell", action="store_true", help="attack a sandbox that has a shell in its view")
    _add_sandbox(commands)
    return parser


def _add_budget(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    budget = _add(commands, "budget", "what a study spent and has left; set: change a limit", _budget)
    budget.add_argument("dir", metavar="DIR")
    budget.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=("show", "set"),
        help="set: a reviewer changes limits, also of a study that runs",
    )
    budget.add_argument(
        "researcher",
        nargs="?",
        metavar="RESEARCHER",
        help="set: the limit of this one; default: of the study",
    )
    budget.add_argument("--task", metavar="TASK", help="set: the limit of this task, of all who work on it")
    _add_limits(budget, "set: ")
    budget.add_argument("--submissions", type=int, metavar="N", help="set: how many in all")
    budget.add_argument("--reason", metavar="TEXT", help="set: why; the record keeps it")
    budget.add_argument("--key", metavar="FILE")
    budget.add_argument("--json", action="store_true")


def _add_limits(parser: argparse.ArgumentParser, when: str) -> None:
    parser.add_argument("--tokens", type=int, metavar="N", help=f"{when}how many in all")
    parser.add_argument("--dollars", metavar="D", help=f"{when}how many in all, such as 12.50")
    held = "for which it holds a task, or the task is held; of the study: of work"
    parser.add_argument("--minutes", type=float, metavar="M", help=f"{when}{held}")
    parser.add_argument(
        "--sandbox-seconds", type=int, metavar="S", help=f"{when}processor time of researchers' own sandboxes"
    )


def _add_trace(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    told = "what a researcher that is a model was told, said and did, in Inspect View on loopback"
    trace = _add(commands, "trace", told, _trace)
    trace.add_argument("dir", metavar="DIR")
    trace.add_argument("researcher", metavar="RESEARCHER")
    how = trace.add_mutually_exclusive_group()
    how.add_argument("--text", action="store_true", help="print it, also of a conversation that is not over")
    how.add_argument("--json", action="store_true")
    how.add_argument("--port", type=int, default=7575, metavar="P", help="of Inspect View; default 7575")


def _add_redteam_study(whats: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    told = "run compromised researchers among honest ones; each must be stopped or caught"
    study = whats.add_parser("study", help=told, description=told[0].upper() + told[1:] + ".")
    study.add_argument(
        "--attack", action="append", default=[], metavar="NAME", help="only this one; repeat for more"
    )
    study.add_argument("--dir", metavar="DIR", help="keep the studies there; started again, it goes on")
    study.add_argument("--seed", type=int, metavar="N", default=1, help="of the researchers' own choices")
    study.add_argument("--repeats", type=int, metavar="N", default=1, help="studies per attack; default 1")
    study.add_argument(
        "--minutes", type=float, metavar="M", default=15, help="time budget of each study; default 15"
    )
    study.add_argument(
        "--unprotected",
        action="store_true",
        help="attacks of words also on a copy of the system made without the record's protections",
    )
    study.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _add_sandbox(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sandbox = _add(commands, "sandbox", "a researcher's sandbox, for whoever wants to attack it", _sandbox)
    actions = sandbox.add_subparsers(required=True, metavar="ACTION", dest="action")
    execute = actions.add_parser(
        "exec",
        help="run one command in it, as a researcher is run",
        description="Run one command in a researcher's sandbox: same launcher, view, filters, uid, limits. "
        "Exit status: the command's own, or 125 when it has none; the reason is then on standard error.",
    )
    _add_backend(execute, default="bubblewrap")
    execute.add_argument(
        "--shell",
        action="store_true",
        help="the sandbox of a researcher whose program is a model: bash and the usual programs are there",
    )
    execute.add_argument(
        "words",
        nargs="+",
        metavar="COMMAND",
        help="after --; without --shell there are python3 and prlimit in there, and no shell",
    )


def _add_backend(command: argparse.ArgumentParser, *, default: str | None) -> None:
    """Which sandboxes: the one that is named, or none. Another never stands in for it."""
    command.add_argument(
        "--backend",
        choices=("bubblewrap", "container", "bare"),
        default=default,
        help="what starts the sandboxes; default: bubblewrap, or the study's own. bare is no sandbox at all: "
        "nothing is scored, and every entry says so",
    )


def _add_witness(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    witness = _add(commands, "witness", "cosign checkpoints of other people's logs", _witness)
    actions = witness.add_subparsers(required=True, metavar="ACTION", dest="action")
    serve = actions.add_parser(
        "serve", help="answer C2SP tlog-witness over HTTP until stopped", description="Serve as a witness."
    )
    serve.add_argument("--state", required=True, metavar="DIR", help="its key and what it saw of each log")
    serve.add_argument("--listen", required=True, metavar="HOST:PORT", help="port 0 takes a free one")
    serve.add_argument("--log", action="append", default=[], metavar="VKEY", help="a log to witness; repeat")
    serve.add_argument(
        "--policy", action="append", default=[], metavar="FILE", help="a policy whose log to witness; repeat"
    )
    vkey = actions.add_parser(
        "vkey",
        help="print the witness's public key, making the key on first use",
        description="Print the public key.",
    )
    vkey.add_argument("--state", required=True, metavar="DIR")
    for action in (serve, vkey):
        action.add_argument("--name", metavar="NAME", help="name of a new key; default: from the key itself")


def _add_receipt(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    receipt = _add(commands, "receipt", "receipts: proofs that an entry is in a record", _receipt)
    actions = receipt.add_subparsers(required=True, metavar="ACTION", dest="action")
    get = actions.add_parser(
        "get",
        help="write the receipt of an entry, from the public files of a study",
        description="Write the receipt (C2SP tlog-proof) of an entry.",
    )
    get.add_argument("dir", metavar="DIR")
    get.add_argument("index", metavar="INDEX", help="index of the entry")
    get.add_argument("--out", metavar="FILE", help="a new file; default: standard output")
    check = actions.add_parser(
        "check",
        help="check one receipt offline",
        description="Check one receipt offline: exit status 0 it holds, 1 it does not, 2 cannot judge.",
    )
    check.add_argument("file", metavar="FILE")
    check.add_argument("--policy", metavar="FILE", help="trust these keys instead of the pinned ones")
    check.add_argument("--json", action="store_true")


def _add_lab(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lab = _add(commands, "lab", "weak-to-strong experiments: problems, methods, tables", _lab)
    actions = lab.add_subparsers(required=True, metavar="ACTION", dest="action")
    problems = actions.add_parser(
        "problems", help="what there is to solve, and what is stated of it", description="List the problems."
    )
    methods = actions.add_parser(
        "methods", help="blocks of pipelines, and methods with a name", description="List blocks and methods."
    )
    methods.add_argument("--profile", choices=("starter",), help="only what a profile leaves")
    run = actions.add_parser(
        "run",
        help="one method on one problem, against vanilla on the same splits",
        description="Run one method on one problem over seeds, and vanilla on the same splits.",
    )
    run.add_argument("problem", metavar="PROBLEM", help="a name; ./aar lab problems lists them")
    run.add_argument("method", metavar="METHOD", help="a name, a pipeline's JSON, or a file that holds one")
    table = actions.add_parser(
        "table",
        help="methods by problems: PGR with intervals, and a figure",
        description="Run methods on problems over seeds: a table of PGR with intervals.",
    )
    table.add_argument("--problems", nargs="+", default=[], metavar="PROBLEM", help="default: all")
    table.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="names, pipelines or files; default: all names",
    )
    table.add_argument("--figure", metavar="FILE", help="draw it, too: a .png or .svg")
    for action in (run, table):
        action.add_argument("--seeds", type=int, default=10, metavar="N", help="how many; default: 10")
        action.add_argument(
            "--first-seed", type=int, default=1_000, metavar="SEED", help="the first of them; default: 1000"
        )
        action.add_argument(
            "--replicates", type=int, metavar="R", help="splits per seed; default: 8 for digits, else 1"
        )
        action.add_argument("--jobs", type=int, default=2, metavar="N", help="processes; default: 2")
        action.add_argument("--no-cache", action="store_true", help="run everything, keep nothing")
    for action in (problems, methods, run, table):
        action.add_argument("--json", action="store_true", help="print JSON and nothing else")
    published = actions.add_parser(
        "import",
        help="read the published study's cached result files and compute their table again",
        description="Compute the published study's table again, with intervals that hold; say what is wrong.",
    )
    published.add_argument("dir", metavar="DIR", help="directory of result files, one JSON object per seed")
    published.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _add_ab(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ab = _add(
        commands, "ab", "compare workflows over problems with real runs, by a plan that is entered first", _ab
    )
    ab.add_argument(
        "study",
        nargs="?",
        metavar="STUDY.toml",
        help="template: the human's steps, the goal, budgets; default: an embedded one",
    )
    ab.add_argument("--dir", metavar="DIR", help="a new directory, or a comparison that is to go on")
    ab.add_argument("--arms", metavar="ARM,ARM", help="of fixed, free, hybrid; default: fixed,free")
    ab.add_argument("--problems", metavar="PROBLEM,PROBLEM", help="classes; default: claims,digits,overlap")
    ab.add_argument("--repeats", type=int, metavar="R", help="runs of each arm on each problem; default: 5")
    ab.add_argument("--seed", type=int, metavar="N", help="of the order of the runs; default: 1")
    ab.add_argument("--researchers", type=int, metavar="N", help="of each run")
    ab.add_argument("--minutes", type=float, metavar="M", help="time budget of each run")
    ab.add_argument(
        "--margin", type=float, metavar="PGR", help="how far behind is still competitive; default: 0.05"
    )
    ab.add_argument(
        "--stop-rule",
        metavar="RULE",
        help="none, the default, or looks:K: K looks at equal distances, at a level adjusted for that",
    )
    ab.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")
    ab.add_argument(
        "--key", metavar="FILE", help="the reviewer's key; default: in the user's config directory"
    )


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    simulate = _add(
        commands, "simulate", "whole studies on a clock of our own: workflows, liars, power, trust", _simulate
    )
    simulate.add_argument(
        "what",
        nargs="?",
        default="demo",
        choices=("demo", "power", "compression", "calibrate", "parameters"),
        help="demo, the default: free against fixed, tampering, a liar; power: repeats that an A/B needs; "
        "compression: trust and rates; calibrate: the model beside what is known; parameters: what they are",
    )
    simulate.add_argument("--seed", type=int, default=1, metavar="N", help="the same seed, the same numbers")
    simulate.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help="simulated studies per arm (demo), per class in both arms (power)",
    )
    simulate.add_argument(
        "--problem", default="hard-2", metavar="CLASS", help="class that demo looks at closely"
    )
    simulate.add_argument("--arms", default="free,fixed", metavar="A,B", help="what power compares")
    simulate.add_argument("--figure", metavar="FILE", help="draw it, too: a .png or .svg")
    simulate.add_argument("--keep", metavar="DIR", help="keep demo's records in this new directory")
    simulate.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="processes of demo; default: 2")
    simulate.add_argument("--json", action="store_true", help="print JSON and nothing else")


def _add_reproduce(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reproduce = _add(
        commands, "reproduce", "run a receipt's method again, from the record alone, and compare", _reproduce
    )
    reproduce.add_argument("dir", metavar="DIR", help="a study, or a copy of its record")
    reproduce.add_argument("receipt", type=int, metavar="RECEIPT", help="index of a score receipt")
    reproduce.add_argument(
        "--tolerance",
        type=float,
        metavar="PGR",
        default=0.0,
        help="how far an opened value may be off, for another machine; default: the same items right",
    )
    reproduce.add_argument(
        "--secret", metavar="FILE", help="the evaluator's secret, for a study that is not closed"
    )
    reproduce.add_argument(
        "--data",
        metavar="DATA",
        help="directory of the study's data set, if it has one; default: the copy that the study keeps",
    )
    reproduce.add_argument("--json", action="store_true")


def _add_oversight(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    threshold = _add(
        commands, "threshold", "how much of a study ran without a human, against its limits", _threshold
    )
    threshold.add_argument("dir", metavar="DIR")
    threshold.add_argument("--json", action="store_true")
    review = _add(
        commands,
        "deployment-review",
        "go, hold or no-go, from the record, the configuration and live probes",
        _deployment_review,
    )
    review.add_argument("target", metavar="DIR|STUDY.toml", help="a study, or the file of one to be opened")
    review.add_argument(
        "--key", metavar="FILE", help="of a STUDY.toml: the reviewer's key; default: the user's own"
    )
    review.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, command: Command
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=command)
    return parser


def _run(options: argparse.Namespace) -> int:
    from aar.cli.run import run

    return run(options)


def _verify(options: argparse.Namespace) -> int:
    from aar.cli.read import verify

    return verify(options)


def _record(options: argparse.Namespace) -> int:
    from aar.cli.read import record

    return record(options)


def _forum(options: argparse.Namespace) -> int:
    from aar.cli.read import forum

    return forum(options)


def _leaderboard(options: argparse.Namespace) -> int:
    from aar.cli.read import show_leaderboard

    return show_leaderboard(options)


def _status(options: argparse.Namespace) -> int:
    from aar.cli.read import status

    return status(options)


def _task(options: argparse.Namespace) -> int:
    from aar.cli.gate import task

    return task(options)


def _review(options: argparse.Namespace) -> int:
    from aar.cli.gate import review

    return review(options)


def _witness(options: argparse.Namespace) -> int:
    from aar.cli.witness import witness

    return witness(options)


def _receipt(options: argparse.Namespace) -> int:
    from aar.cli.receipt import receipt

    return receipt(options)


def _lab(options: argparse.Namespace) -> int:
    if options.action == "import":
        from aar.cli.lab_import import import_published

        return import_published(options)
    from aar.cli.lab import lab

    return lab(options)


def _reproduce(options: argparse.Namespace) -> int:
    from aar.cli.reproduce import reproduce

    return reproduce(options)


def _threshold(options: argparse.Namespace) -> int:
    from aar.cli.oversight import threshold

    return threshold(options)


def _pause(options: argparse.Namespace) -> int:
    from aar.cli.pause import pause

    return pause(options)


def _resume(options: argparse.Namespace) -> int:
    from aar.cli.pause import resume

    return resume(options)


def _stop(options: argparse.Namespace) -> int:
    from aar.cli.pause import stop

    return stop(options)


def _trace(options: argparse.Namespace) -> int:
    from aar.cli.trace import trace

    return trace(options)


def _budget(options: argparse.Namespace) -> int:
    from aar.cli.budget import budget

    return budget(options)


def _deployment_review(options: argparse.Namespace) -> int:
    from aar.cli.oversight import deployment_review

    return deployment_review(options)


def _anchor(options: argparse.Namespace) -> int:
    from aar.cli.anchor import anchor

    return anchor(options)


def _redteam(options: argparse.Namespace) -> int:
    if options.what == "scores":
        from aar.cli.redteam_scores import redteam_scores

        return redteam_scores(options)
    if options.what == "study":
        from aar.cli.redteam_study import redteam_study

        return redteam_study(options)
    from aar.cli.redteam import redteam

    return redteam(options)


def _ab(options: argparse.Namespace) -> int:
    from aar.cli.ab import ab

    return ab(options)


def _simulate(options: argparse.Namespace) -> int:
    from aar.cli.simulate import simulate

    return simulate(options)


def _doctor(options: argparse.Namespace) -> int:
    from aar.cli.run import doctor

    return doctor(options)


def _sandbox(options: argparse.Namespace) -> int:
    from aar.cli.sandbox import sandbox

    return sandbox(options)


if __name__ == "__main__":
    sys.exit(main())
