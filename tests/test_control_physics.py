"""Control tasks are Gymnasium's: the same seed gives the same episode, to the bit."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import textgym
from textgym import ControlVectorEnv
from textgym.errors import InvalidSetting, InvalidSize, UnknownName

PAIRS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("TextGym/CartPole-v0", {}, "CartPole-v1", {}),
    ("TextGym/MountainCar-v0", {}, "MountainCar-v0", {}),
    ("TextGym/FrozenLake-v0", {}, "FrozenLake-v1", {}),
    ("TextGym/FrozenLake-v0", {"map_name": "8x8"}, "FrozenLake8x8-v1", {}),
    ("TextGym/FrozenLake-v0", {"slippery": False}, "FrozenLake-v1", {"is_slippery": False}),
]


@pytest.mark.parametrize(("id", "kwargs", "theirs", "their_kwargs"), PAIRS)
def test_an_episode_is_gymnasiums_to_the_bit(id: str, kwargs: Any, theirs: str, their_kwargs: Any) -> None:
    mine, other = gymnasium.make(id, observation="state", **kwargs), gymnasium.make(theirs, **their_kwargs)
    assert mine.observation_space == other.observation_space
    assert mine.action_space == other.action_space
    chance = np.random.default_rng(0)
    for seed in range(6):
        assert np.array_equal(mine.reset(seed=seed)[0], other.reset(seed=seed)[0])
        ended = False
        while not ended:
            action = int(chance.integers(mine.action_space.n))  # type: ignore[attr-defined]
            ours, known = mine.step(action), other.step(action)
            assert np.array_equal(ours[0], known[0])
            assert ours[1:4] == known[1:4]
            assert ours[4]["true_reward"] == known[1]
            ended = ours[2] or ours[3]


def test_the_time_limit_is_gymnasiums() -> None:
    def feedback(state: Any) -> int:
        return int(state @ np.array([0.1, 0.3, 6.0, 1.0]) > 0)

    mine, theirs = gymnasium.make("TextGym/CartPole-v0", observation="state"), gymnasium.make("CartPole-v1")
    ends = []
    for env in (mine, theirs):
        state, steps, ended = env.reset(seed=1)[0], 0, False
        while not ended:
            state, _, terminated, truncated, _ = env.step(feedback(state))
            steps, ended = steps + 1, terminated or truncated
        ends.append((steps, terminated, truncated))
    assert ends == [(500, False, True)] * 2


def test_gymnasiums_own_batch_of_cartpole_begins_its_rows_otherwise_than_its_singles() -> None:
    """Why only the equations of `CartPoleVectorEnv` are used here; should this fail, Gymnasium has mended it."""
    batch = gymnasium.make_vec("CartPole-v1", 3, "vector_entry_point")
    singles = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 3)
    assert not np.array_equal(batch.reset(seed=0)[0], singles.reset(seed=0)[0])


def test_what_is_reported_at_an_end() -> None:
    env = gymnasium.make("TextGym/CartPole-v0", max_steps=3, guidance="expert")
    env.reset(seed=0)
    infos = [env.step(0) for _ in range(3)]
    assert [step[3] for step in infos] == [False, False, True]
    assert infos[0][4] == {"true_reward": 1.0}
    expected = {"true_reward": 1.0, "is_success": True, "metrics": {"success": 1.0, "true_return": 3.0}}
    assert infos[-1][4] == expected


def test_tokens_are_the_bins_of_what_gymnasium_shows() -> None:
    env = gymnasium.make("TextGym/CartPole-v0", observation="both").unwrapped
    seen, _ = env.reset(seed=3)
    low, high = np.array([-2.4, -2, -0.21, -2]), np.array([2.4, 2, 0.21, 2])
    bins = np.floor((seen["state"] - low) / (high - low) * 32).astype(int)
    assert seen["tokens"].tolist() == (bins + 32 * np.arange(4)).tolist()
    assert env.rows.view.describer(seen["state"]) == "x{} v{} a{} w{}".format(*bins)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"guidance": "exprt"}, UnknownName, "no adviser is called 'exprt'. Did you mean 'expert'"),
        ({"shaping": "naive"}, UnknownName, "no guidance reward is called 'naive'"),
        ({"observation": "pixels"}, UnknownName, "no observation is called 'pixels'"),
        ({"text": "klingon"}, UnknownName, "no text is called 'klingon'"),
        ({"language": "german"}, UnknownName, "no language is called 'german'"),
        ({"weight": "much"}, InvalidSetting, "weight='much'"),
        ({"weight": float("nan")}, InvalidSetting, "weight=nan"),
        ({"weight": [1.0, 0.0]}, InvalidSetting, "weight="),
        ({"weight": [1.0, 0.0, -5]}, InvalidSetting, "steps=-5"),
        ({"gamma": 1.5}, InvalidSetting, r"gamma=1\.5 is no number from 0 to 1"),
        ({"noise": -0.1, "guidance": "noisy"}, InvalidSetting, "noise="),
        ({"guidance_seed": True}, InvalidSetting, "guidance_seed=True"),
        ({"max_steps": 0}, InvalidSize, "max_steps=0 is not a size"),
        ({"max_steps": True}, InvalidSize, "max_steps=True"),
        ({"model": "gpt2"}, InvalidSetting, 'guidance="language-model" alone'),
        ({"guidence": "expert"}, TypeError, "has no argument 'guidence'. Did you mean 'guidance'"),
    ],
)
def test_what_cannot_be_is_refused(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gymnasium.make("TextGym/CartPole-v0", **kwargs)
    with pytest.raises(error, match=message):
        ControlVectorEnv("textgym.control.cart_pole:cart_pole", 2, **kwargs)


def test_a_render_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="render_mode='hologram' does not exist"):
        ControlVectorEnv("textgym.control.cart_pole:cart_pole", render_mode="hologram")


def test_maps_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"no map of FrozenLake is called '5x5'.*4x4, 8x8"):
        gymnasium.make("TextGym/FrozenLake-v0", map_name="5x5")
    with pytest.raises(InvalidSetting, match="slippery=1 is neither"):
        gymnasium.make("TextGym/FrozenLake-v0", slippery=1)


def test_registering_one_of_ones_own_takes_one_line() -> None:
    textgym.register_control("Test/Short-v0", "textgym.control.cart_pole:cart_pole", max_steps=7, guidance="expert")
    try:
        assert "Test/Short-v0" in textgym.control_ids()
        control, options = textgym.load_control("Test/Short-v0")
        assert (control.max_steps, options.guidance) == (7, "expert")
    finally:
        gymnasium.registry.pop("Test/Short-v0")
    for place in ("textgym.control.cart_pole", "a:b:c"):
        with pytest.raises(InvalidSetting, match=r"Write 'package\.module:function'"):
            textgym.register_control("Test/Wrong-v0", place)
    with pytest.raises(InvalidSetting, match="which is no Control"):
        ControlVectorEnv("textgym.envs.copy:copy")
