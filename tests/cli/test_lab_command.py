"""`aar lab`: what it prints, what it keeps, and the one clear line for what it cannot do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.cli import lab_pool
from aar.cli.main import main
from aar.lab.pipeline import VANILLA
from aar.lab.run_cache import RunCache

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--seeds", "2", "--jobs", "1")


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `aar lab ...`: the exit status and what it printed to both streams."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["lab", *arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_problems_are_listed_with_kind_and_sizes(lab: Any) -> None:
    status, out, _err = lab("problems")
    assert status == 0
    for name in ("digits", "overlap", "shortcut"):
        assert name in out
    told = {one["problem"]: one for one in json.loads(lab("problems", "--json")[1])}
    assert (told["digits"]["kind"], told["overlap"]["kind"], told["shortcut"]["kind"]) == (
        "fixed",
        "fresh",
        "canary",
    )
    assert told["digits"]["unlabelled"] == 750
    assert told["digits"]["tested"] == 897
    for one in told.values():
        assert one["ceiling"] - one["weak"] == pytest.approx(one["gap"], abs=2e-4)
        assert one["gap"] > max(0.1, 6 * one["gap_error"])
        assert -0.1 < one["vanilla"] < 0.6


def test_methods_are_listed_with_their_blocks_and_a_profile_withholds_some(lab: Any) -> None:
    _status, out, _err = lab("methods")
    assert "label_prop" in out
    assert "Zhou et al. 2003" in out
    everything = json.loads(lab("methods", "--json")[1])
    starter = json.loads(lab("methods", "--json", "--profile", "starter")[1])
    blocks = {one["block"]: one for one in everything["blocks"]}
    assert set(blocks["knn"]) == {"block", "kind", "family", "version", "parameters", "needs", "source"}
    assert blocks["knn"]["parameters"]["k"] == {"low": 1, "high": 200, "default": 20}
    assert "twomeans" in blocks
    assert "twomeans" not in {one["block"] for one in starter["blocks"]}
    assert "drop_top+twomeans" in {one["method"] for one in everything["methods"]}
    assert "drop_top+twomeans" not in {one["method"] for one in starter["methods"]}
    assert len(starter["methods"]) < len(everything["methods"])


def test_a_listed_pipeline_can_be_run(lab: Any) -> None:
    [listed] = [
        one for one in json.loads(lab("methods", "--json")[1])["methods"] if one["method"] == "vanilla"
    ]
    status, out, _err = lab("run", "overlap", json.dumps(listed["pipeline"]), *QUICK, "--json")
    told = json.loads(out)
    assert (status, told["method"], told["digest"]) == (0, "vanilla", listed["digest"])


def test_a_run_tells_pgr_interval_lead_and_every_seed(lab: Any) -> None:
    status, out, err = lab("run", "overlap", "label_prop", *QUICK, "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert told["seeds"] == [1000, 1001]
    assert told["low"] < told["pgr"] < told["high"]
    assert told["lead"]["pgr"] == pytest.approx(told["pgr"] - told["vanilla"]["pgr"])
    assert [one["seed"] for one in told["per_seed"]] == [1000, 1001]
    assert told["accuracy"]["weak"] < told["accuracy"]["student"] < told["accuracy"]["ceiling"]
    status, out, _err = lab("run", "overlap", "label_prop", *QUICK)
    assert status == 0
    assert "2 seeds from 1000; 0 splits run" in out
    assert "lead over vanilla, same splits" in out


def test_a_method_may_be_a_file(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('[["conf_keep", {"q": 0.3}], ["probe", {}]]\n', "utf-8")
    told = json.loads(lab("run", "overlap", "mine.json", *QUICK, "--json")[1])
    assert told["method"] == "mine"
    assert '"q":0.3' in told["pipeline"]


def test_the_table_has_exactly_its_rows_and_the_plain_baseline_is_vanilla(lab: Any) -> None:
    arguments = (
        "table",
        "--problems",
        "overlap,shortcut",
        "--methods",
        VANILLA,
        "label_prop",
        *QUICK,
        "--json",
    )
    status, out, _err = lab(*arguments)
    told = json.loads(out)
    assert status == 0
    assert set(told) == {"rows"}
    assert [(row["problem"], row["method"]) for row in told["rows"]] == [
        ("overlap", "vanilla"),
        ("overlap", "label_prop"),
        ("shortcut", "vanilla"),
        ("shortcut", "label_prop"),
    ]
    for row in told["rows"]:
        assert list(row) == ["problem", "method", "pgr", "low", "high", "seeds"]
        assert row["low"] <= row["pgr"] <= row["high"]
        assert row["seeds"] == 2


def test_a_method_that_a_problem_cannot_serve_is_left_out_with_the_reason(lab: Any) -> None:
    arguments = ("table", "--problems", "overlap", "--methods", "vanilla", "zero_shot", *QUICK)
    status, out, err = lab(*arguments)
    assert status == 0
    assert "zero_shot  " in out
    assert err.count("\n") == 1
    assert "zero_shot is left out: zero_shot needs zero-shot" in err
    assert [row["method"] for row in json.loads(lab(*arguments, "--json")[1])["rows"]] == ["vanilla"]
    status, _out, err = lab("run", "overlap", "zero_shot", *QUICK)
    assert (status, err.count("\n")) == (2, 1)


def test_what_was_run_is_kept_and_no_cache_keeps_nothing(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads(lab("run", "overlap", "vanilla_soft", *QUICK, "--json")[1])
    assert first["splits_run"] == 2
    monkeypatch.setattr(lab_pool, "do_work", None)
    again = json.loads(lab("run", "overlap", "vanilla_soft", *QUICK, "--json")[1])
    assert again == first | {"splits_run": 0}
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    anew = json.loads(lab("run", "overlap", "vanilla_soft", *QUICK, "--json", "--no-cache")[1])
    assert anew == first
    assert not (tmp_path / "other").exists()


def test_a_damaged_cache_is_run_again(lab: Any, tmp_path: Path) -> None:
    first = json.loads(lab("run", "overlap", "vanilla_soft", *QUICK, "--json")[1])
    files = sorted((tmp_path / "cache").rglob("*.json"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:100])
    again = json.loads(lab("run", "overlap", "vanilla_soft", *QUICK, "--json")[1])
    assert again == first | {"splits_run": 1}


def test_a_cache_that_cannot_be_written_is_told_once_and_the_run_goes_on(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a directory should be")
    status, out, err = lab("run", "overlap", "vanilla", *QUICK, "--json")
    assert status == 0
    assert json.loads(out)["splits_run"] == 2
    assert err.count("results are not kept") == 1


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown problem": (("run", "nope", "vanilla"), "no problem 'nope'; there is: "),
    "an unknown method": (("run", "overlap", "labelprop"), "do you mean label_prop"),
    "no method": (("run", "overlap", ""), "no method ''"),
    "a long name that is none": (("run", "overlap", "a/" * 1000), "no method 'a/a/"),
    "a cut pipeline": (("run", "overlap", '[["probe"'), "is not JSON"),
    "an unknown block": (("run", "overlap", '[["nope", {}]]'), "no block 'nope'"),
    "a parameter out of range": (("run", "overlap", '[["knn", {"k": 0}], ["probe", {}]]'), "knn.k: got 0"),
    "no objective": (("run", "overlap", '[["harden", {}]]'), "an objective stands last"),
    "no seeds": (("run", "overlap", "vanilla", "--seeds", "0"), "--seeds 0: want 1 to 10000"),
    "too many seeds": (("table", "--seeds", "10001"), "--seeds 10001"),
    "no replicates": (("run", "overlap", "vanilla", "--replicates", "0"), "--replicates 0"),
    "no jobs": (("run", "overlap", "vanilla", "--jobs", "0"), "--jobs 0"),
    "a seed below 0": (("run", "overlap", "vanilla", "--first-seed", "-1"), "--first-seed -1"),
    "a method twice": (("table", "--methods", "vanilla,vanilla"), "--methods: vanilla stands twice"),
    "a problem twice": (("table", "--problems", "overlap", "overlap"), "--problems: overlap stands twice"),
    "a figure of no kind": (("table", "--figure", "a.gif"), "ends in .png or .svg"),
    "a figure nowhere": (("table", "--figure", "gone/a.png"), "there is no directory gone"),
    "a figure over a directory": (("table", "--figure", "dir.png"), "that is a directory"),
    "no directory to import": (("import", "gone"), "gone does not exist"),
    "nothing to import": (("import", "."), "holds no .json file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_exit_2(lab: Any, name: str) -> None:
    Path("dir.png").mkdir()
    arguments, text = BAD[name]
    status, out, err = lab(*arguments)
    assert (status, out) == (2, "")
    assert text in err
    assert err.startswith("aar: ")
    assert err.count("\n") == 1


def test_a_method_file_that_is_no_text_or_no_pipeline_is_refused(lab: Any, tmp_path: Path) -> None:
    for data, text in (
        (b"\xff\xfe", "not a text"),
        (b"", "is not JSON"),
        (b"[" * 5000, "characters, at most"),
    ):
        (tmp_path / "method.json").write_bytes(data)
        status, _out, err = lab("run", "overlap", "method.json", *QUICK)
        assert (status, err.count("\n")) == (2, 1), err
        assert text in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_figure_where_nobody_may_write_is_refused(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    status, _out, err = lab("table", "--figure", "shut/a.png")
    assert status == 2
    assert "cannot be written" in err


def test_the_figure_is_drawn_and_an_svg_is_the_same_every_time(lab: Any, tmp_path: Path) -> None:
    arguments = ("table", "--problems", "overlap", "--methods", "vanilla,twomeans,label_prop", *QUICK)
    for name in ("a.svg", "b.svg", "c.png"):
        status, out, _err = lab(*arguments, "--figure", name)
        assert status == 0
        assert f"figure: {name}" in out
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def write_jsonl_problem(directory: Path) -> None:
    """A small data set in the published layout: the right of two choices has words of a kind more often."""
    rng = np.random.default_rng(0)
    right, wrong = ([f"{kind}{number}" for number in range(120)] for kind in ("r", "w"))
    directory.mkdir()
    for name, size in (("train_label", 80), ("train_unlabel", 800), ("test", 600)):
        rows = []
        for number in range(size // 2):
            for label in rng.permutation(2):
                share = 0.7 if label else 0.3
                words = [str(rng.choice(right if rng.random() < share else wrong)) for _word in range(9)]
                row = {"id": f"{rng.integers(10**11, 10**12)}", "question": f"{name} {number}"}
                row |= {"choice": " ".join(words), "label": int(label), "subset": f"part {number % 2}"}
                rows.append(json.dumps(row) + "\n")
        (directory / f"{name}.jsonl").write_text("".join(rows))


def test_a_data_set_in_the_published_layout_has_a_pgr_for_each_part(lab: Any, tmp_path: Path) -> None:
    write_jsonl_problem(tmp_path / "data")
    status, out, err = lab("run", "jsonl:data", "label_prop", *QUICK, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert [one["part"] for one in told["parts"]] == ["part 0", "part 1"]
    assert all(one["low"] < one["pgr"] < one["high"] for one in told["parts"])
    assert min(one["pgr"] for one in told["parts"]) < told["pgr"] < max(one["pgr"] for one in told["parts"])
    status, out, _err = lab("run", "jsonl:data", "label_prop", *QUICK)
    assert status == 0
    assert "part 1  " in out
    status, out, err = lab("run", "jsonl:nowhere", "vanilla")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "nowhere" in err


def test_an_import_prints_the_table_and_what_differs(lab: Any, tmp_path: Path) -> None:
    run = {"dataset_name": "toy", "idea_name": "vanilla_w2s", "weak_acc": 0.5, "strong_acc": 0.9}
    for seed, accuracy, stated in ((1, 0.6, 0.25), (2, 0.7, 0.5), (3, 0.8, 0.9)):
        value = run | {"seed": seed, "transfer_acc": accuracy, "pgr": stated}
        (tmp_path / f"{seed}.json").write_text(json.dumps(value))
    status, out, _err = lab("import", ".")
    assert status == 0
    assert "3 result files, 3 of them runs of a method, on 1 data sets" in out
    assert "toy vanilla_w2s: PGR 0.5000, stated 0.5500 (-0.0500)" in out
    assert "no-test-size" in out
    told = json.loads(lab("import", ".", "--json")[1])
    [row] = told["rows"]
    assert (row["problem"], row["method"], row["seeds"]) == ("toy", "vanilla_w2s", 3)
    assert row["pgr"] == pytest.approx(0.5)
    assert [one["method"] for one in told["differs"]] == ["vanilla_w2s"]
    (tmp_path / "4.json").write_text('{"dataset_name": "toy"')
    status, out, err = lab("import", ".")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "4.json: not JSON" in err


def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def running_in_group(group: int) -> list[str]:
    """The command lines of a process group's living members."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, own = stat.read_text("utf-8").rpartition(")")[2].split()[:3]
            if int(own) == group and state != "Z":
                found.append(stat.with_name("cmdline").read_text("utf-8"))
    return found


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "aar", "lab", *arguments]


@pytest.mark.slow
def test_two_processes_give_what_one_does(tmp_path: Path) -> None:
    arguments = ("run", "overlap", "knn_relabel_20", "--seeds", "16", "--no-cache", "--json")
    told = [
        subprocess.run(
            command(*arguments, "--jobs", jobs),
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for jobs in ("1", "2")
    ]
    assert json.loads(told[0]) == json.loads(told[1])


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_a_cache_that_goes_on(tmp_path: Path) -> None:
    arguments = ("run", "overlap", "label_prop", "--seeds", "60", "--json")
    with subprocess.Popen(
        command(*arguments),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        until = time.monotonic() + 60
        while len(list((tmp_path / "cache").rglob("[0-9]*.json"))) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)
        _out, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert err == "aar: stopped\n"
    until = time.monotonic() + 10
    while (left := running_in_group(running.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []
    files = list((tmp_path / "cache").rglob("[0-9]*.json"))
    assert 3 <= len(files) < 60
    assert not list((tmp_path / "cache").rglob(".new-*"))
    from aar.lab.problems.registry import problem_named

    kept = RunCache(tmp_path / "cache" / "aar" / "lab").load(
        "overlap", problem_named("overlap").digest, [(seed, 0) for seed in range(1000, 1060)]
    )
    # Teacher, ceiling, vanilla and the method of every split that has a file.
    assert len(kept) == 4 * len(files)
    done = subprocess.run(
        command(*arguments), env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["splits_run"] == 60 - len(files)
