"""TextGym/RewardModel-v0: what it pays is what embedded models say of the whole text, and nothing before its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from scored_models import bert, tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from textgym import load_task
from textgym.errors import InvalidModel, InvalidPrompt, InvalidSetting, UnknownName
from textgym.reviews import FOLDER, openings
from textgym.rollouts import rollout, write_random

ID = "TextGym/RewardModel-v0"


def says(name: str, text: str) -> float:
    """What an embedded model says of a text, read with transformers alone."""
    model = AutoModelForSequenceClassification.from_pretrained(FOLDER / name).eval()
    ids = AutoTokenizer.from_pretrained(FOLDER / name)([text], return_tensors="pt")
    with torch.no_grad():
        return float(model(**ids).logits)


def played(env: gym.Env[Any, Any], text: str) -> tuple[list[float], dict[str, Any]]:
    """Write characters; return the rewards, and the last step's info."""
    env.reset(seed=0)
    ids = env.unwrapped.task.vocabulary.ids  # type: ignore[attr-defined]
    steps = [env.step(ids[token]) for token in text]
    assert [ended for _, _, ended, _, _ in steps] == [False] * (len(text) - 1) + [True]
    return [float(reward) for _, reward, *_ in steps], steps[-1][4]


def test_the_end_pays_what_the_proxy_says_and_reports_what_gold_says() -> None:
    env = gym.make(ID)
    assert env.action_space == gym.spaces.Discrete(1500)
    assert env.observation_space == gym.spaces.Box(0, 1500, (32,), np.int32)
    for text in ("很好,不错。$", "差" * 24):  # the end token; a full text
        rewards, info = played(env, text)
        whole = env.unwrapped.episodes.vocabulary.decode(env.unwrapped.episodes.tokens[0])  # type: ignore[attr-defined]
        assert whole.removesuffix(text.removesuffix("$")) in openings()
        assert rewards[:-1] == [0.0] * (len(text) - 1)
        assert rewards[-1] == info["metrics"]["proxy"] == pytest.approx(says("proxy", whole), abs=1e-5)
        assert info["metrics"]["gold"] == pytest.approx(says("gold", whole), abs=1e-5)


def test_the_judges_know_praise_from_blame_and_may_change_places() -> None:
    env = gym.make(ID, reward_model="textgym:gold", gold=None, prompts=["这本书"])
    (*_, praise), info = played(env, "非常好,很喜欢,值得推荐!$")
    (*_, blame), _ = played(env, "质量太差,很失望,不推荐!$")
    assert info["metrics"] == {"proxy": praise}
    assert praise > blame + 1


def test_scores_are_normalised_and_safety_terms_are_paid_and_reported() -> None:
    arguments: dict[str, Any] = {"gold": None, "prompts": ["房间"], "horizon": 6}
    plain = played(gym.make(ID, **arguments), "很差很差$")[0][-1]
    scaled = played(gym.make(ID, **arguments, normalisation=[0.5, 2.0]), "很差很差$")[0][-1]
    assert scaled == pytest.approx((plain - 0.5) / 2)
    safety = {"banned_words": {"words": ["差"], "weight": -0.25}, "repetition": {"n": 2, "weight": -1.0}}
    rewards, info = played(gym.make(ID, **arguments, safety=safety), "很差很差$")
    # 差 twice; of the pairs 很差, 差很, 很差 the last one was there before
    assert info["metrics"] == {"proxy": pytest.approx(plain), "banned_words": 2.0, "repetition": pytest.approx(1 / 3)}
    assert rewards[-1] == pytest.approx(plain - 0.25 * 2 - 1 / 3)


def test_a_reward_model_of_ones_own_fits(tmp_path: Path) -> None:
    task = load_task(ID, reward_model=bert(tmp_path, max_position_embeddings=64, vocab_size=40), gold=None, horizon=3)
    returns, rows = rollout(task, write_random, 3)
    np.testing.assert_array_equal(task.measure(rows)["proxy"], returns)
    assert task.reward.fingerprints[0]["model"] == str(tmp_path)  # type: ignore[attr-defined]


def test_the_tokens_may_be_a_tokenizers_own(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    task = load_task(ID, tokenizer=str(tmp_path), prompts=["我爱"], gold=None, horizon=3)
    assert (task.size, task.vocabulary.eos) == (9, "[END]")
    returns, rows = rollout(task, write_random, 3)
    for row, earned in enumerate(returns):
        assert earned == pytest.approx(says("proxy", task.vocabulary.decode(rows.tokens[row])), abs=1e-5)


def test_a_spec_with_every_argument_survives_json_and_names_no_place_of_this_machine() -> None:
    safety = {"length": {"most": 8, "weight": -0.1}}
    env = gym.make(ID, horizon=5, prompts=["不错", "太差"], normalisation=[0.0, 2.0], safety=safety)
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert played(again, "好好好好$") == played(env, "好好好好$")
    found = load_task(ID).reward.fingerprints  # type: ignore[attr-defined]
    assert [(one["model"], one["revision"], len(one["sha256"])) for one in found] == [("textgym:proxy", None, 64)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"reward_model": "textgym:prox"}, UnknownName, "Did you mean 'textgym:proxy'"),
        ({"reward_model": "./nowhere"}, InvalidModel, "./nowhere is no folder"),
        ({"gold": ""}, InvalidSetting, "names no model"),
        ({"normalisation": [1.0]}, InvalidSetting, "Give a pair"),
        ({"normalisation": [0.0, 0.0]}, InvalidSetting, "deviation=0.0 is no deviation"),
        ({"prompts": "房间"}, InvalidPrompt, "no list of texts"),
        ({"prompts": []}, InvalidPrompt, "no list of texts"),
        ({"prompts": ["Ω房间"]}, InvalidPrompt, "'Ω'"),
        ({"safety": {"gold": {"name": "length"}}}, InvalidSetting, "the name of a score here"),
        ({"safety": ["length"]}, InvalidSetting, "are no parts"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_task(ID, **arguments)


def test_without_torch_it_can_be_made_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.commands.list import _row

    monkeypatch.setitem(sys.modules, "torch", None)
    env = gym.make(ID)
    assert _row(ID)[2:] == ("1500", "24", "", "", "", "")
    with pytest.raises(ImportError, match=r'a learned reward needs torch: pip install "textgym\[agents\]"'):
        played(env, "$")
