"""What a run has where nothing is said: on TextGym/RewardModel-v0 it begins with the embedded writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agents import load, make, make_vec_env
from agents.samples import Samples, sampled
from agents.training import plan
from textgym import load_task
from textgym.errors import InvalidSetting

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")

ID = "TextGym/RewardModel-v0"
Textgym = Callable[..., tuple[int, str, str]]


def test_a_run_begins_with_the_embedded_writer_and_stays_near_it() -> None:
    config = plan({"env": ID}, {})
    assert (config.agent, config.n_envs, config.init and config.init.folder) == ("rloo", 64, "textgym:reviewer")
    assert config.settings["kl_target"] == 6.0
    assert config.settings["policy"] == {"d_model": 96, "n_layers": 2, "n_heads": 4, "residual_scale": 0.1}
    assert plan(config.model_dump(), {}) == config  # as `--config` of its run reads it


def test_what_is_said_stands_over_what_is_usual() -> None:
    other = plan({"env": ID, "agent": "ppo", "n_envs": 8, "init": "elsewhere"} | {"init": None}, {"kl_target": 3.0})
    assert (other.agent, other.n_envs, other.init, other.settings["kl_target"]) == ("ppo", 8, None, 3.0)
    assert "learning_rate" not in plan({"env": ID, "agent": "ppo"}, {}).settings  # that is rloo's
    free = plan({"env": ID}, {"kl_coefficient": 0})
    assert (free.settings["kl_coefficient"], "kl_target" in free.settings) == (0, False)
    assert plan({"env": ID, "agent": "q-learning"}, {}).init is None
    assert plan({"env": ID}, {"policy.model": {"model_type": "gpt2"}}).init is None
    bare = plan({"env": ID}, {}, bare=True)
    assert (bare.agent, bare.init, bare.settings) == ("ppo", None, {})
    assert plan({"env": "TextGen-v0"}, {}).settings == {}
    assert plan({"env": "TextGym/CartPole-v0", "steps": 5}, {}).n_envs == 16


def test_the_embedded_writer_is_a_run_like_any_other() -> None:
    writer = load("textgym:reviewer")
    agent = make("rloo", make_vec_env(ID, 8, seed=0, horizon=6), init="textgym:reviewer", seed=1, device="cpu")
    assert agent.made.init.folder == "textgym:reviewer"
    pad = 1500
    prompt = load_task(ID).prompts.support()[0][0].tokens  # type: ignore[attr-defined]
    shown = np.full((1, 32), pad, np.int32)
    shown[0, 8 - len(prompt) : 8] = prompt
    with torch.no_grad():
        likely = [
            one.policy.get_distribution(torch.as_tensor(shown[:, :width])).distribution.probs
            for one, width in ((writer, 32), (agent, 14))
        ]
    torch.testing.assert_close(*likely, atol=1e-6, rtol=0)
    with pytest.raises(InvalidSetting, match="at most 24 more; here prompts have up to 8, and the horizon is 25"):
        make("rloo", make_vec_env(ID, 8, horizon=25), init="textgym:reviewer")


def test_samples_touch_no_chance_and_say_what_has_changed() -> None:
    agent = make("ppo", make_vec_env("TextGen-v0", 8, seed=0), seed=0, device="cpu")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (sampled(agent, load_task("TextGen-v0")) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert first == second
    before, after = Samples(1.0, 0.5, {"gold": 2.0}, ["a"]), Samples(1.75, 0.1, {"gold": 1.5}, ["b"])
    assert before.lines() == ["1.00, deviation 0.50, gold 2.00", "  a"]
    assert after.lines(before) == ["1.75 (+0.75), +1.50 deviations, gold 1.50 (-0.50)", "  b"]


def test_train_prints_texts_of_the_start_and_of_the_end(textgym: Textgym) -> None:
    small: dict[str, Any] = {"--n-envs": "8", "--steps": "100"}
    status, out, err = textgym("train", ID, *[word for pair in small.items() for word in pair])
    assert (status, err) == (0, "")
    start, end = out.partition("Trained for")[::2]
    assert start.startswith("At the start, sampled writing earns ")
    assert start.count(" → ") == 5
    assert "nats a text from its reference, now earns" in end
    assert "gold" in end
    assert end.count(" → ") == 10
