"""LearnedReward: the model's own score, whatever stands beside a text; one set of weights; bad folders refused."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import scored_models
import torch
from gymnasium.envs.registration import EnvSpec
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from textgym import Episodes, Task, check_task, register
from textgym.errors import InvalidModel, InvalidReward, InvalidSetting, InvalidSize, UnknownName
from textgym.rewards import Fluency, LearnedReward, Toxicity, reward_of
from textgym.rewards.learned import padded_width
from textgym.rewards.loading import sha256_of
from textgym.rollouts import rollout, write_random


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scored_models.bert(tmp_path_factory.mktemp("models") / "reward")


def finished(task: Task, n: int = 40, seed: int = 0) -> Episodes:
    return rollout(task, write_random, n, seed)[1]


def by_hand(folder: str, rows: Episodes) -> list[float]:
    """Score texts one by one, without padding, as transformers' own documentation does."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = [rows.vocabulary.decode(row) for row in rows.tokens]
    with torch.no_grad():
        return [model(**tokenizer(text or "[PAD]", return_tensors="pt")).logits.item() for text in texts]


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_score_is_the_models_own_whatever_is_beside_it(folder: str, tmp_path: Path, kind: str) -> None:
    where = folder if kind == "encoder" else scored_models.gpt2(tmp_path / "decoder", scores=True)
    rows = finished(scored_models.scored(prompts=("", "ab", "abcdabcdabcd我爱"), horizon=8))
    expected = by_hand(where, rows)
    assert np.std(expected) > 0.05
    for batch_size in (1, 3, 64):
        reward = LearnedReward(where, batch_size=batch_size)
        for parts in (1, 4, 40):
            split = np.array_split(np.random.default_rng(parts).permutation(40), parts)
            for part in split:
                np.testing.assert_allclose(reward(rows.take(part)), np.array(expected)[part], atol=1e-5)


def test_rows_are_padded_to_a_width_of_their_own() -> None:
    for window in (5, 24, 512):
        widths = [padded_width(length, window) for length in range(window + 1)]
        assert all(length <= width <= window for length, width in enumerate(widths))
        assert widths == sorted(widths)
    assert [padded_width(length, 512) for length in (1, 8, 9, 100, 511)] == [8, 8, 16, 112, 512]


def test_only_finished_rows_are_scored(folder: str) -> None:
    task = scored_models.scored({"name": "learned", "model": folder, "mean": 1.0, "deviation": 2.0}, prompts=("ab",))
    rows = task.blank(2)
    rows.begin(..., task.draw([np.random.default_rng(0)] * 2))
    assert task.step(rows, np.array([0, 1])).tolist() == [0.0, 0.0]
    end = task.vocabulary.eos_id
    earned = task.step(rows, np.array([end, 0]))
    assert earned[1] == 0.0
    assert earned[0] == pytest.approx((by_hand(folder, rows)[0] - 1.0) / 2.0, abs=1e-5)


def test_a_score_is_normalised_as_the_models_config_says(folder: str, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "model")
    scored_models.rewrite(place / "config.json", reward_shift=0.5, reward_scale=2.0)
    rows = finished(scored_models.scored())
    np.testing.assert_allclose(LearnedReward(str(place))(rows), (LearnedReward(folder)(rows) - 0.5) / 2.0, atol=1e-6)


def test_an_ensemble_scores_as_one(folder: str, tmp_path: Path) -> None:
    places = [tmp_path / "judges" / name for name in ("member-0", "member-1")]
    for place, seed in zip(places, (0, 1)):
        scored_models.bert(place, seed=seed)
    (tmp_path / "judges" / "ensemble.json").write_text('{"members": ["member-0", "member-1"]}')
    rows, judges = finished(scored_models.scored()), str(tmp_path / "judges")
    own = np.array([LearnedReward(str(place))(rows) for place in places])
    assert np.abs(own[0] - own[1]).max() > 0.1
    for spec, expected in (
        ({"model": judges}, own.mean(axis=0)),
        ({"model": [str(place) for place in places], "combination": "worst"}, own.min(axis=0)),
        ({"model": judges, "combination": "penalised", "penalty": 0.5}, own.mean(axis=0) - 0.5 * own.var(axis=0)),
    ):
        reward: Any = reward_of({"name": "ensemble", **spec})
        np.testing.assert_allclose(reward(rows), expected, atol=1e-6)
        assert [one["sha256"] for one in reward.fingerprints] == [sha256_of(place) for place in places]
        twin = pickle.loads(pickle.dumps(reward))
        np.testing.assert_array_equal(twin(rows), reward(rows))
    with pytest.raises(InvalidModel, match=r"judges holds an ensemble\. Use EnsembleReward"):
        LearnedReward(judges)
    with pytest.raises(UnknownName, match="no combination is called 'worse'"):
        reward_of({"name": "ensemble", "model": judges, "combination": "worse"})
    with pytest.raises(InvalidSetting, match=r"model=\[\] names no reward models"):
        reward_of({"name": "ensemble", "model": []})
    (tmp_path / "judges" / "ensemble.json").write_text("[]")
    with pytest.raises(InvalidModel, match=r"ensemble\.json is damaged"):
        reward_of({"name": "ensemble", "model": judges})


def test_a_copy_loads_again_and_refuses_other_weights(folder: str, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "model")
    reward = LearnedReward(str(place), on_missing="drop")
    rows = finished(scored_models.scored())
    stored = pickle.dumps(reward)
    assert len(stored) < 2000
    for twin in (pickle.loads(stored), copy.deepcopy(reward)):
        assert twin == reward
        assert twin.sha256 == reward.sha256 == sha256_of(place)
        np.testing.assert_array_equal(twin(rows), reward(rows))
    scored_models.bert(place, seed=1)
    for again in (lambda: pickle.loads(stored), lambda: copy.deepcopy(reward)):
        with pytest.raises(InvalidModel, match=r"model has been replaced: its files have sha256"):
            again()


def test_the_hash_is_what_sha256sum_says(folder: str) -> None:
    script = "sha256sum config.json model.safetensors tokenizer.json tokenizer_config.json | sha256sum"
    said = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == LearnedReward(folder).sha256


@pytest.fixture
def composed(folder: str) -> Iterator[str]:
    """Register a task whose reward is composed, in plain data."""
    parts = {"learned": {"model": folder, "clip": [-3, 3]}, "repetition": {"n": 2, "weight": -0.5}}
    register("Tests/Scored-v0", "scored_models:scored", reward={"name": "sum", "parts": parts})
    yield "Tests/Scored-v0"
    gymnasium.registry.pop("Tests/Scored-v0")


@pytest.mark.slow
def test_a_scored_task_keeps_every_law(composed: str) -> None:
    check_task(composed)


def test_a_spec_survives_as_json_and_parts_are_reported(composed: str) -> None:
    env = gymnasium.make(composed)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    for one in (env, again):
        one.reset(seed=3)
    for _ in range(4):
        mine, theirs = env.step(0), again.step(0)
        assert mine[1:] == theirs[1:]
    metrics = mine[4]["metrics"]
    assert mine[1] == pytest.approx(float(np.clip(metrics["learned"], -3, 3)) - 0.5 * metrics["repetition"])
    assert metrics["repetition"] == pytest.approx(2 / 3)


@pytest.mark.slow
def test_rows_in_other_processes_score_alike(folder: str) -> None:
    register("Tests/Spawned-v0", "scored_models:scored", reward={"name": "learned", "model": folder})
    try:
        spawned = gymnasium.make_vec("Tests/Spawned-v0", 2, "async", vector_kwargs={"context": "spawn"})
        single = gymnasium.make_vec("Tests/Spawned-v0", 2, "sync")
        for env in (spawned, single):
            env.reset(seed=0)
        for action in (0, 1, 2, 3, 0):
            mine, theirs = (env.step(np.full(2, action))[1] for env in (spawned, single))
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
        spawned.close()
    finally:
        gymnasium.registry.pop("Tests/Spawned-v0")


def test_a_model_by_name_comes_from_the_hubs_cache(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, cache = "0123456789" * 4, tmp_path / "models--owner--reward"
    shutil.copytree(folder, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    reward = LearnedReward("owner/reward")
    known = {"model": "owner/reward", "revision": commit, "sha256": LearnedReward(folder).sha256}
    assert reward.fingerprints == (known,)
    with pytest.raises(InvalidModel, match="'owner/other' is no folder here, and no model of that name"):
        LearnedReward("owner/other")


def pickled(place: Path) -> None:
    (place / "model.safetensors").unlink()
    (place / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def truncated(place: Path) -> None:
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickled, "only pytorch_model.bin, a pickle, which could run code"),
        (truncated, r"holds no classifier that can be read: SafetensorError"),
        (lambda place: (place / "model.safetensors").unlink(), "holds no weights"),
        (lambda place: (place / "config.json").unlink(), "it has no config.json"),
        (lambda place: (place / "config.json").write_text("{"), "holds no classifier that can be read"),
        (lambda place: [path.unlink() for path in place.glob("tokenizer*")], "holds no tokenizer"),
        (lambda place: (place / "adapter_config.json").write_text("{}"), "holds an adapter, adapter_config.json"),
        (
            lambda place: scored_models.rewrite(place / "config.json", reward_scale=0),
            "reward_scale is 0 in config.json, no number",
        ),
        (lambda place: scored_models.bert(place, 2), "has 2 outputs, and a reward is one number"),
        (lambda place: scored_models.gpt2(place, scores=False), "was saved as another kind of model: .* score.weight"),
        (
            lambda place: scored_models.tokenizer("abcd我爱你他她").save_pretrained(place),
            "a tokenizer that does not fit its model: its ids go to 11, and the model knows 0 to 8",
        ),
    ],
)
def test_folders_that_hold_no_reward_model_are_refused(folder: str, tmp_path: Path, damage: Any, message: str) -> None:
    place = shutil.copytree(folder, tmp_path / "model")
    damage(place)
    with pytest.raises(InvalidModel, match=message) as refused:
        LearnedReward(str(place))
    assert str(place) in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all is no folder"),
        ({"model": ""}, "model='' names no model"),
        ({"revision": "main"}, "is of a name on a hub"),
        ({"device": "toaster"}, "device='toaster' is none that torch sees"),
        ({"dtype": "float16"}, "dtype='float16'"),
        ({"text": "prompt"}, "text='prompt' is no part of an episode"),
        ({"mean": float("nan")}, "mean=nan"),
        ({"deviation": 0}, "deviation=0"),
        ({"batch_size": True}, "batch_size=True is not a size"),
        ({"on_missing": "ignore"}, "on_missing='ignore' is no policy. Give one of raise, retry, drop"),
        ({"retries": 2}, "retries=2 with on_missing='raise'"),
        ({"retries": 0, "on_missing": "retry"}, "retries=0 with on_missing='retry'"),
        ({"time_limit": -1}, "time_limit=-1 is no time"),
        ({"sha256": "0" * 64}, "has been replaced"),
    ],
)
def test_arguments_that_cannot_be_are_refused(folder: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidSetting, InvalidSize), match=message):
        LearnedReward(**{"model": folder, **arguments})


def test_a_text_longer_than_the_window_is_refused(folder: str) -> None:
    task = scored_models.scored({"name": "learned", "model": folder, "on_missing": "drop"}, ("abcd" * 6,))
    with pytest.raises(InvalidReward, match=r"reward reads at most 24 tokens, and 'abcd.*' has 2\d of its tokens"):
        finished(task)


def test_fluency_is_the_mean_log_probability(tmp_path: Path) -> None:
    place = scored_models.gpt2(tmp_path / "lm", scores=False)
    rows = finished(scored_models.scored(prompts=("", "ab"), horizon=6))
    reward = Fluency(place)
    model, words = reward._loaded.model, reward._loaded.tokenizer
    for row, found in enumerate(reward(rows)):
        ids = [2, *words.encode(rows.vocabulary.decode(rows.tokens[row]))]
        stopped = rows.completion[row, rows.length[row] - 1] == rows.vocabulary.eos_id
        ids += [2] if stopped else []
        with torch.no_grad():
            logs = model(torch.tensor([ids])).logits[0].log_softmax(dim=1)
        judged = range(len(ids) - int(rows.length[row]), len(ids))
        expected = np.mean([logs[i - 1, ids[i]].item() for i in judged])
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_reference_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    place = scored_models.gpt2(tmp_path / "lm", scores=False, letters="abc")
    with pytest.raises(InvalidModel, match="lm has another vocabulary than the task: its tokenizer does not know 'd'"):
        finished(scored_models.scored({"name": "fluency", "model": place}))


def test_toxicity_is_a_probability_and_words_count_as_certain(tmp_path: Path) -> None:
    place = scored_models.bert(tmp_path / "toxic", labels=2)
    rows = finished(scored_models.scored())
    plain = Toxicity(place, label="LABEL_1")(rows)
    assert (Toxicity(place, label=0)(rows) + plain).tolist() == pytest.approx([1.0] * 40)
    banned = Toxicity(place, label=1, words=["我"])(rows)
    wrote = ["我" in rows.text(row) for row in range(40)]
    assert any(wrote)
    np.testing.assert_allclose(banned, np.where(wrote, 1.0, plain), atol=1e-6)
    with pytest.raises(InvalidModel, match=r"\['LABEL_0', 'LABEL_1'\], and label=None does not say"):
        Toxicity(place)
