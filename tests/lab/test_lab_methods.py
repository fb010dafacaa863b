"""Named methods and the starter profile: every text is a pipeline, and what is withheld stays withheld."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from aar.lab import blocks, pipeline
from aar.lab.blocks import BLOCKS
from aar.lab.blocks.block import ALWAYS, NEEDS
from aar.lab.errors import MalformedPipeline
from aar.lab.methods import COMPOSED, METHODS, STARTER, methods_for
from aar.lab.pipeline import (
    VANILLA,
    format_pipeline,
    needs_of,
    offered_by,
    parse_pipeline,
    parse_pipeline_text,
    pipeline_digest,
    run_pipeline,
)
from lab.small_state import INSTANCE

BARE = replace(INSTANCE, votes=None, zero_shot=None)


@pytest.mark.parametrize("name", METHODS)
def test_a_named_method_runs_where_there_is_what_it_needs(name: str) -> None:
    answer = run_pipeline(parse_pipeline_text(METHODS[name]), INSTANCE, np.random.default_rng(0))
    assert ((answer >= 0) & (answer <= 1)).all()


def test_no_two_names_stand_for_one_method() -> None:
    digests = [pipeline_digest(parse_pipeline_text(text)) for text in METHODS.values()]
    assert len(set(digests)) == len(METHODS)


def test_vanilla_is_the_lab_s_plain_baseline() -> None:
    assert METHODS["vanilla"] == VANILLA
    assert next(iter(METHODS)) == "vanilla"


def test_every_block_is_in_some_named_method() -> None:
    used = {name for text in METHODS.values() for name, _values in parse_pipeline_text(text)}
    assert used == set(BLOCKS)


def test_compositions_are_named_as_such() -> None:
    assert set(METHODS) >= COMPOSED
    assert {name for name in METHODS if "+" in name} == COMPOSED


def test_at_least_thirty_ideas_of_the_literature_are_there_with_their_sources() -> None:
    sources = {block.source for block in BLOCKS.values()}
    assert len(sources) >= 40
    cited = {found for source in sources for found in re.findall(r"arXiv:(\d{4}\.\d{5})", source)}
    assert len(cited) >= 20


def test_methods_are_offered_by_what_an_instance_has() -> None:
    bare, whole = methods_for(offered_by(BARE)), methods_for(offered_by(INSTANCE))
    assert whole == dict(METHODS)
    assert set(whole) - set(bare) == {
        "vote_mean",
        "dawid_skene",
        "dawid_skene_student",
        "zero_shot",
        "zero_shot_labels",
        "weak_x_zero_shot_poe",
    }
    assert offered_by(BARE) == ALWAYS
    assert offered_by(INSTANCE) == set(NEEDS)


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        ([["dawid_skene", {}], ["probe", {}]], "votes"),
        ([["zero_shot", {}]], "zero-shot"),
        ([["bag", {}], ["vote_mean", {}], ["poe", {}], ["probe", {}]], "votes and zero-shot"),
    ],
)
def test_a_block_without_what_it_needs_says_what_is_missing(value: object, missing: str) -> None:
    with pytest.raises(MalformedPipeline, match=f"needs {missing}, which this instance does not have"):
        run_pipeline(parse_pipeline(value), BARE, np.random.default_rng(0))


def test_needs_of_a_pipeline_are_those_of_its_blocks() -> None:
    assert needs_of(parse_pipeline([["pca", {}], ["knn_vote", {}]])) == {"test inputs", "weak"}


# The profile.


def test_the_starter_withholds_what_solves_claims() -> None:
    withheld = set(BLOCKS) - STARTER
    assert withheld == {"pca", "whiten", "drop_top", "erase_weak", "spectral", "twomeans", "gmm"}
    assert all(BLOCKS[name].kind == "represent" for name in withheld - {"twomeans", "gmm"})


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - STARTER))
def test_a_withheld_block_is_refused_with_what_there_is(name: str) -> None:
    value = [[name, {}], ["probe", {}]]
    with pytest.raises(MalformedPipeline, match=f"block 0: {name} is withheld .*; there is: knn, label_prop"):
        parse_pipeline(value, profile=STARTER)
    with pytest.raises(MalformedPipeline, match="withheld"):
        parse_pipeline_text(f'[["{name}", {{}}], ["probe", {{}}]]', profile=STARTER)
    parse_pipeline(value)


def test_what_the_profile_has_is_parsed_as_ever() -> None:
    value = [["label_prop", {}], ["probe", {}]]
    assert parse_pipeline(value, profile=STARTER) == parse_pipeline(value)


# Versions.


@pytest.fixture
def _second_knn(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {**BLOCKS, "knn": replace(BLOCKS["knn"], version=2)}
    monkeypatch.setattr(blocks, "BLOCKS", changed)
    monkeypatch.setattr(pipeline, "BLOCKS", changed)


@pytest.mark.usefixtures("_second_knn")
def test_a_changed_block_is_written_with_its_version_and_read_back() -> None:
    value = [["knn", {}], ["probe", {}]]
    text = format_pipeline(parse_pipeline(value))
    assert text == '[["knn/2",{"k":20,"mix":1.0}],["probe",{"l2_factor":1.0}]]'
    assert parse_pipeline_text(text) == parse_pipeline(value)


def test_a_changed_block_makes_another_method(monkeypatch: pytest.MonkeyPatch) -> None:
    value = [["knn", {}], ["probe", {}]]
    before = pipeline_digest(parse_pipeline(value))
    monkeypatch.setattr(blocks, "BLOCKS", {**BLOCKS, "knn": replace(BLOCKS["knn"], version=2)})
    assert pipeline_digest(parse_pipeline(value)) != before


@pytest.mark.parametrize("name", ["knn/2", "knn/1", "knn/", "knn/x", "knn/2/2", "knn/ 1"])
def test_a_version_that_the_lab_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(MalformedPipeline, match="knn is at version 1 here, the pipeline wants"):
        parse_pipeline([[name, {}], ["probe", {}]])


@pytest.mark.usefixtures("_second_knn")
def test_a_version_that_the_lab_had_once_is_refused() -> None:
    with pytest.raises(MalformedPipeline, match="knn is at version 2 here, the pipeline wants '1'"):
        parse_pipeline([["knn/1", {}], ["probe", {}]])


def test_an_unknown_block_with_a_version_is_unknown() -> None:
    with pytest.raises(MalformedPipeline, match="no block 'knm'"):
        parse_pipeline([["knm/1", {}], ["probe", {}]])
