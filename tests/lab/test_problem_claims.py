"""`claims`: the shipped weights give the shipped features, the world is as told, the numbers hold."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from aar.lab.errors import MalformedSplit, MalformedWeights
from aar.lab.experiment import Sampled, sample
from aar.lab.instance import Instance
from aar.lab.llama import Llama, read_safetensors
from aar.lab.pipeline import VANILLA, parse_pipeline_text, run_pipeline
from aar.lab.problems import claims_world as world
from aar.lab.problems.claims import DATA, FEATURES_FILE, MODEL_DIRECTORY, SIZES, Claims
from aar.lab.problems.problem import baselines_of

SEEDS = range(10)


@pytest.fixture(scope="module")
def claims() -> Claims:
    return Claims()


@pytest.fixture(scope="module")
def runs(claims: Claims) -> list[Sampled]:
    return [sample(claims, seed) for seed in SEEDS]


def pgr_of(runs: list[Sampled], answers: list[Any]) -> float:
    student = np.mean([((a > 0.5) == one.taught.truth).mean() for a, one in zip(answers, runs, strict=True)])
    weak = np.mean([one.taught.weak_correct.mean() for one in runs])
    ceiling = np.mean([one.taught.ceiling_correct.mean() for one in runs])
    return float((student - weak) / (ceiling - weak))


# The world.


def test_every_claim_is_about_the_fact_of_its_group_and_is_true_if_the_world_says_so() -> None:
    tokens, truth = world.pool()
    assert tokens.shape == (SIZES.pool, 6)
    true_value = world.facts()
    for item in range(0, SIZES.pool, 37):
        bos, hedge, entity, relation, value, dot = (int(token) for token in tokens[item])
        fact = divmod(item // SIZES.group, 6)
        assert (bos, dot) == (world.BOS, world.DOT)
        assert hedge in (world.HEDGE, world.PLAIN)
        assert (entity - world.ENTITY0, (relation - world.RELATION0) // 2) == fact
        told, relation_of_value = (value - world.VALUE0) % 8, (value - world.VALUE0) // 8
        assert relation_of_value == fact[1]
        assert truth[item] == (told == true_value[fact])
    assert tokens.max() < world.VOCABULARY


def test_half_of_the_claims_are_true_and_half_of_each_fact_s() -> None:
    _tokens, truth = world.pool()
    assert truth.mean() == 0.5
    assert set(truth.reshape(-1, SIZES.group).sum(axis=1)) == {10, 11}


def test_false_claims_are_hedged_more_often() -> None:
    tokens, truth = world.pool()
    hedged = tokens[:, world.HEDGE_AT] == world.HEDGE
    assert hedged[truth].mean() == pytest.approx(0.3, abs=0.03)
    assert hedged[~truth].mean() == pytest.approx(0.6, abs=0.03)


def test_texts_say_what_the_recipe_says() -> None:
    text = world.texts(40_000, np.random.default_rng(0))
    claim = text[:, : world.CLAIM]
    entity, relation = claim[:, 2] - world.ENTITY0, (claim[:, 3] - world.RELATION0) // 2
    truth = (claim[:, 4] - world.VALUE0) % 8 == world.facts()[entity, relation]
    hedged = claim[:, 1] == world.HEDGE
    response = text[:, 6]
    assert set(text[:, 7]) == {world.EOS}
    # Drawn as true .6 of the time, and by chance in an eighth of the rest.
    assert truth.mean() == pytest.approx(0.6 + 0.4 / 8, abs=0.01)
    assert hedged[truth].mean() == pytest.approx(0.35, abs=0.01)
    assert hedged[~truth].mean() == pytest.approx(0.55, abs=0.01)
    yes, no = np.isin(response, (world.YES1, world.YES2)), np.isin(response, (world.NO1, world.NO2))
    assert (yes | no).mean() == pytest.approx(0.8, abs=0.01)
    assert (yes == truth)[yes | no].mean() == pytest.approx(0.9, abs=0.01)
    np.testing.assert_array_equal(np.isin(response, (world.YES2, world.NO2, world.NEUTRAL2)), hedged)


def test_world_and_pool_are_functions_of_nothing() -> None:
    for first, again in zip(world.pool(), world.pool(), strict=True):
        np.testing.assert_array_equal(first, again)


# What is shipped.


def test_the_shipped_weights_give_the_shipped_features_without_torch(claims: Claims) -> None:
    """Features are float16: near 4 the last bit is .004, and numpy rounds otherwise than torch."""
    tokens, _truth = world.pool()
    states = Llama(MODEL_DIRECTORY).hidden(tokens)[:, world.DOT_AT].astype(np.float64)
    again = (states - states.mean(axis=0)) / states.std(axis=0)
    np.testing.assert_allclose(again, claims.features, rtol=2e-3, atol=2e-3)


def test_the_shipped_files_are_those_of_the_run_that_made_them() -> None:
    made = json.loads((DATA / "claims.json").read_text())
    assert made["made_by"] == "tools/pretrain_claims.py"
    assert sorted(made["sha256"]) == [
        "claims-features.npy",
        "claims-llama/config.json",
        "claims-llama/model.safetensors",
    ]
    for name, digest in made["sha256"].items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest


def test_what_is_shipped_is_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 1_500_000


def test_the_features_are_standardised_and_of_the_size_told(claims: Claims) -> None:
    assert claims.features.shape == (SIZES.pool, SIZES.features)
    assert claims.features.dtype == np.float32
    np.testing.assert_allclose(claims.features.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(claims.features.std(axis=0), 1, atol=1e-3)


def test_a_claim_begins_the_same_whatever_follows() -> None:
    """Attention is causal: hidden states do not know the tokens after them."""
    model = Llama(MODEL_DIRECTORY)
    text = world.texts(5, np.random.default_rng(1))
    np.testing.assert_allclose(model.hidden(text[:, :6]), model.hidden(text)[:, :6], atol=1e-4)
    assert np.abs(model.hidden(text[:, ::-1])[:, 5] - model.hidden(text)[:, 5]).max() > 0.1


def test_the_default_problem_starts_without_torch_and_without_scikit_learn() -> None:
    code = (
        "import sys, time; begun = time.process_time(); from aar.lab.problems.registry import problem_named\n"
        "from aar.lab.experiment import sample; sample(problem_named('claims'), 0)\n"
        "print(time.process_time() - begun, sorted({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, heavy = ran.stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    # A busy machine's second is longer than the one that is promised.
    assert float(seconds) < 3.0


def test_files_that_are_cut_or_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (
        ("cut", FEATURES_FILE.read_bytes()[:1_000]),
        ("empty", b""),
        ("other", (DATA / "claims.json").read_bytes()),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        monkeypatch.setattr("aar.lab.problems.claims.FEATURES_FILE", path)
        with pytest.raises(MalformedWeights, match=name):
            _ = Claims().features
    np.save(tmp_path / "shape.npy", np.zeros((3, 64), dtype=np.float16))
    monkeypatch.setattr("aar.lab.problems.claims.FEATURES_FILE", tmp_path / "shape.npy")
    with pytest.raises(MalformedWeights, match=r"want float16 \(6048, 64\)"):
        _ = Claims().features
    monkeypatch.setattr("aar.lab.problems.claims.FEATURES_FILE", tmp_path / "none")
    with pytest.raises(MalformedWeights, match="install the package again"):
        _ = Claims().features


def broken_weights(data: bytes) -> dict[str, bytes]:
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    return {
        "nothing": b"",
        "cut in the header": data[: 8 + length // 2],
        "cut in the body": data[:-100],
        "an endless header": (1 << 40).to_bytes(8, "little") + data[8:],
        "no JSON": data[:8] + b"x" * length + data[8 + length :],
        "another type": data[:8] + header.replace(b'"F32"', b'"F16"', 1) + data[8 + length :],
        "another name": data[:8] + header.replace(b"q_proj", b"z_proj") + data[8 + length :],
    }


@pytest.mark.parametrize("case", sorted(broken_weights((MODEL_DIRECTORY / "model.safetensors").read_bytes())))
def test_weights_that_are_broken_are_refused(tmp_path: Path, case: str) -> None:
    whole = (MODEL_DIRECTORY / "model.safetensors").read_bytes()
    (tmp_path / "config.json").write_bytes((MODEL_DIRECTORY / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(broken_weights(whole)[case])
    with pytest.raises(MalformedWeights):
        Llama(tmp_path)


def test_a_configuration_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((MODEL_DIRECTORY / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 2}')
    with pytest.raises(MalformedWeights, match="num_attention_heads"):
        Llama(tmp_path)


def test_the_weights_hold_the_parameters_that_are_told() -> None:
    tensors = read_safetensors(MODEL_DIRECTORY / "model.safetensors")
    assert sum(tensor.size for tensor in tensors.values()) == 89_792
    assert "lm_head.weight" not in tensors


# The problem.


def test_teacher_and_ceiling_are_as_far_apart_as_is_stated(runs: list[Sampled]) -> None:
    found = baselines_of([(seed, one.taught) for seed, one in zip(SEEDS, runs, strict=True)])
    assert 0.62 < found.weak < 0.69
    assert found.ceiling > 0.94
    assert found.gap > 0.27


def test_the_plain_student_recovers_little(runs: list[Sampled]) -> None:
    plain = parse_pipeline_text(VANILLA)
    answers = [run_pipeline(plain, one.instance, np.random.default_rng(0)) for one in runs]
    assert 0 <= pgr_of(runs, answers) <= 0.25


def elicited(instance: Instance, *, erased: int) -> Any:
    """Two clusters of states, begun at the weak class means, once `erased` main directions are gone.

    Written with scikit-learn, apart from the lab's blocks.
    """
    both = np.vstack([instance.train_x, instance.test_x]).astype(np.float64)
    if erased:
        axes = PCA(erased, random_state=0).fit(both).components_
        both = both - (both - both.mean(axis=0)) @ axes.T @ axes
    train, test = both[: len(instance.weak)], both[len(instance.weak) :]
    main = PCA(4, random_state=0).fit(train)
    told, is_high = main.transform(train), instance.weak > np.median(instance.weak)
    begun = np.stack([told[~is_high].mean(axis=0), told[is_high].mean(axis=0)])
    label = KMeans(2, init=begun, n_init=1).fit_predict(told)
    return LogisticRegression(C=1 / len(train)).fit(train, label).predict_proba(test)[:, 1]


def test_two_steps_recover_most_of_the_gap_and_the_second_alone_nothing(runs: list[Sampled]) -> None:
    assert pgr_of(runs, [elicited(one.instance, erased=1) for one in runs]) >= 0.8
    assert pgr_of(runs, [elicited(one.instance, erased=0) for one in runs]) <= 0.1


def test_the_weak_teacher_is_a_logistic_regression_on_words_without_the_entity(claims: Claims) -> None:
    tokens, truth = world.pool()
    seen = np.zeros((len(tokens), world.VOCABULARY))
    for position in (1, 3, 4):
        seen[np.arange(len(tokens)), tokens[:, position]] = 1
    labelled, train, test = range(0, 4_200, 10), range(4_200, 5_000), range(5_000, 6_048)
    taught = claims.teach(9, labelled, train, test)
    model = LogisticRegression(C=1 / (1e-2 * len(labelled)), tol=1e-9, max_iter=5_000)
    told = model.fit(seen[list(labelled)], truth[list(labelled)]).predict_proba(seen)[:, 1]
    np.testing.assert_allclose(taught.weak, np.clip(told[list(train)], 0.02, 0.98), atol=0.02)
    np.testing.assert_array_equal(taught.truth, truth[list(test)])
    right = (told[list(test)] > 0.5) == truth[list(test)]
    assert np.mean(right == taught.weak_correct) > 0.99


def test_the_ceiling_is_the_probe_on_true_labels(claims: Claims) -> None:
    _tokens, truth = world.pool()
    labelled, train, test = range(400), range(400, 2_400), range(2_400, 6_048)
    taught = claims.teach(0, labelled, train, test)
    probe = LogisticRegression(C=1 / (1e-2 * len(train)), tol=1e-9, max_iter=5_000)
    right = probe.fit(claims.features[list(train)], truth[list(train)]).predict(claims.features[list(test)])
    assert np.mean((right == truth[list(test)]) == taught.ceiling_correct) > 0.99


def test_several_teachers_vote_near_the_first(runs: list[Sampled]) -> None:
    for one in runs[:3]:
        votes = one.instance.votes
        assert votes is not None
        assert votes.shape == (2_000, 7)
        assert np.corrcoef(votes.mean(axis=1), one.instance.weak)[0, 1] > 0.8
        assert np.abs(votes - one.instance.weak[:, None]).max() > 0.05


def test_training_and_test_claims_are_about_different_facts(claims: Claims) -> None:
    from aar.lab.problems.problem import deal

    for seed in range(5):
        one = deal(claims.sizes, seed, 0, range(SIZES.sealed))
        seen = {item // SIZES.group for item in (*one.labelled, *one.unlabelled)}
        tested = {item // SIZES.group for item in one.tested}
        assert not seen & tested
        assert not tested & set(range(SIZES.sealed // SIZES.group))
        assert len(one.tested) >= 1_500


def test_the_head_s_answers_are_given_in_their_variant_alone(claims: Claims) -> None:
    with_head = Claims(is_elicited=True)
    assert claims.digest != with_head.digest
    hidden, open_ = sample(claims, 4), sample(with_head, 4)
    assert hidden.instance.zero_shot is None
    assert open_.instance.zero_shot is not None
    own, test = open_.instance.zero_shot
    assert own.shape == open_.instance.weak.shape
    assert ((test > 0.5) == open_.taught.truth).mean() > 0.9
    np.testing.assert_array_equal(hidden.instance.weak, open_.instance.weak)
    assert "zero_shot" not in claims.statement
    assert "zero_shot" in with_head.statement


def test_a_teacher_that_knows_one_cue_alone_teaches_nothing_more(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher that reads the hedge alone is copied exactly, and nothing is recovered."""
    monkeypatch.setattr("aar.lab.problems.claims.READ_BY_TEACHER", (world.HEDGE_AT,))
    found = [sample(Claims(), seed) for seed in range(3)]
    plain = parse_pipeline_text(VANILLA)
    answers = [run_pipeline(plain, one.instance, np.random.default_rng(0)) for one in found]
    assert abs(pgr_of(found, answers)) < 0.02


def test_teaching_is_a_function_of_its_arguments(claims: Claims) -> None:
    first, again = (claims.teach(2**49 - 1, range(99), range(99, 499), range(499, 999)) for _time in range(2))
    np.testing.assert_array_equal(first.weak, again.weak)
    np.testing.assert_array_equal(first.votes, again.votes)
    np.testing.assert_array_equal(first.ceiling_correct, again.ceiling_correct)


def test_a_split_that_is_none_is_refused(claims: Claims) -> None:
    with pytest.raises(MalformedSplit):
        claims.teach(0, [1], [1, 2], [3])
