"""Guidance around environments of one's own: what is counted, whose names count, wrappers around wrappers."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import DiscretizeAction

import textgym
from textgym import GuidanceWrapper, TextObservation, VectorGuidanceWrapper, VectorTextObservation
from textgym.errors import InvalidSetting, InvalidState, UnknownName


def cart() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("CartPole-v1")


@pytest.mark.parametrize(
    ("reward", "said", "unclear"),
    [
        ("agreement", "Dance!", 2),
        ("agreement", "left or right", 2),
        ("agreement", "left", 0),
        ("potential", "left", 2),
        ("potential", "It is worth 3 of 10.", 0),
        ("similarity", "Dance!", 0),
        ("agreement", " ", 0),  # silence
    ],
)
def test_advice_that_is_of_no_use_is_no_guidance_and_is_counted(reward: str, said: str, unclear: int) -> None:
    env = GuidanceWrapper(cart(), "compact", lambda texts: [said] * len(texts), reward, gamma=1.0)
    env.reset(seed=0)
    paid = env.step(0)[1]
    assert env.counts["unclear"] == unclear
    assert env.counts["silent"] == (2 if said == " " else 0)
    if unclear:
        assert paid == 1.0


def test_what_is_counted_can_be_asked_of_every_form() -> None:
    fails: Any = lambda texts: [None] * len(texts)  # noqa: E731
    seen: list[Any] = [
        TextObservation(cart(), advisor=fails, max_tokens=4),
        VectorTextObservation(SyncVectorEnv([cart]), advisor=fails, max_tokens=4),
        gymnasium.make("TextGym/CartPole-v0", guidance="irrelevant").unwrapped,
        gymnasium.make_vec("TextGym/CartPole-v0", 1, guidance="irrelevant"),
    ]
    found: list[Any] = []
    for env in seen:
        env.reset(seed=0)
        found.append(env.counts)
    assert [counts["failed"] for counts in found] == [1, 1, 0, 0]
    assert [counts["unclear"] for counts in found] == [0, 0, 1, 1]
    assert TextObservation(cart()).counts == {}
    assert gymnasium.make("TextGym/CartPole-v0").unwrapped.counts == {}  # type: ignore[attr-defined]


def test_names_of_ones_own_are_spoken_by_the_known_advisers() -> None:
    env = GuidanceWrapper(cart(), actions=("nach links", "nach rechts"))
    env.reset(seed=0)
    assert env._rows.advice == ["nach links. The state is worth 8 of 10."]
    assert env.step(0)[1] == 2.0
    pendulum = DiscretizeAction(gymnasium.make("Pendulum-v1"), bins=5)
    with pytest.raises(InvalidSetting, match="3 actions have names, where there are 5"):
        GuidanceWrapper(pendulum)
    with pytest.raises(InvalidSetting, match="advisor='expert' knows 3 actions, where there are 5"):
        GuidanceWrapper(pendulum, actions=[*"abcde"])
    GuidanceWrapper(pendulum, advisor=lambda texts: ["a"] * len(texts), actions=[*"abcde"]).reset(seed=0)


def test_where_a_guided_environment_is_guided_again_the_true_reward_is_the_innermost() -> None:
    env = GuidanceWrapper(GuidanceWrapper(cart()), advisor="adversarial", weight=3.0)
    env.reset(seed=0)
    assert env.step(0)[1:] == (1 + 1 - 3, False, False, {"true_reward": 1.0})
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        rows = SyncVectorEnv([cart] * 2, autoreset_mode=mode)
        twice = VectorGuidanceWrapper(VectorGuidanceWrapper(rows), advisor="adversarial", weight=3.0)
        twice.reset(seed=0)
        for _ in range(30):
            _, _, terminated, _, info = twice.step(np.zeros(2, np.int64))
            final = info.get("final_info", {"true_reward": np.zeros(2)})["true_reward"]
            true = info.get("true_reward", np.zeros(2)) + final
            assert set(true.tolist()) <= {0.0, 1.0}
            if mode is AutoresetMode.SAME_STEP:
                assert true.tolist() == [1.0, 1.0]
                assert final.tolist() == terminated.tolist()


@pytest.mark.parametrize("wrapper", [GuidanceWrapper, TextObservation])
def test_a_wrapped_environment_is_made_again_from_its_spec(wrapper: Any) -> None:
    env = wrapper(cart(), "english", "noisy", noise=0.4)
    assert env.spec is not None
    for spec in (env.spec, EnvSpec.from_json(env.spec.to_json())):
        again = gymnasium.make(spec)
        assert type(again) is wrapper
        env.reset(seed=0), again.reset(seed=0)
        for mine, theirs in zip(env.step(1), again.step(1)):
            assert np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs
    assert json.loads(env.spec.to_json())["additional_wrappers"][-1]["kwargs"]["noise"] == 0.4


class Room(gymnasium.Env[Any, Any]):
    """An environment of somebody else's, with names that TextGym's have too, and a state that may not be finite."""

    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (1,)), gymnasium.spaces.Discrete(2)
    control, options = "remote", {"volume": 3}

    def __init__(self, state: float = 0.5) -> None:
        self.state = state

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.array([self.state], np.float32), 0.0, False, False, {}


def test_an_environment_of_somebody_elses_is_guided_by_words_of_ones_own() -> None:
    warmth, names = textgym.describe_features(warmth=(-1, 1, 4)), (("heat",), ("cool",))
    env = GuidanceWrapper(
        Room(), warmth, lambda texts: ["heat" if "2" in text else "cool" for text in texts], actions=names
    )
    env.reset(seed=0)
    assert [env.step(0)[1], env.step(1)[1]] == [1.0, 1.0]  # advice on warmth2, then on warmth3
    text = TextObservation(Room(), warmth)
    assert text.vocabulary.decode(text.reset()[0]) == "warmth2"
    assert text.observation_space.action_words == ()  # type: ignore[attr-defined]
    with pytest.raises(InvalidSetting, match=r"nothing is known about .*Room"):
        GuidanceWrapper(Room())


@pytest.mark.parametrize("state", [np.nan, np.inf])
@pytest.mark.parametrize("batched", [False, True])
def test_a_state_that_is_not_finite_is_refused_in_mid_episode(state: float, batched: bool) -> None:
    warmth, names = textgym.describe_features(warmth=(-1, 1, 4)), (("heat",), ("cool",))
    guided: dict[str, Any] = {"describer": warmth, "advisor": lambda texts: [""] * len(texts), "actions": names}
    make = [lambda: Room(state)] * 2
    seen: list[Any] = (
        [VectorGuidanceWrapper(SyncVectorEnv(make), **guided), VectorTextObservation(SyncVectorEnv(make), warmth)]
        if batched
        else [GuidanceWrapper(make[0](), **guided), TextObservation(make[0](), warmth)]
    )
    for env in seen:
        env.reset(seed=0)
        with pytest.raises(InvalidState, match="is not finite"):
            env.step(np.zeros(2, np.int64) if batched else 0)


def test_rows_in_other_processes_are_guided_and_told() -> None:
    for wrapper in (VectorGuidanceWrapper, VectorTextObservation):
        one, other = (wrapper(gymnasium.make_vec("CartPole-v1", 2, kind)) for kind in ("async", "sync"))
        assert np.array_equal(one.reset(seed=0)[0], other.reset(seed=0)[0])
        for mine, theirs in zip(one.step(np.array([0, 1]))[:2], other.step(np.array([0, 1]))[:2]):
            assert np.array_equal(mine, theirs)
        one.close()


def test_noise_and_language_of_what_is_observed() -> None:
    said = []
    for noise in (0.0, 1.0):
        env = TextObservation(cart(), advisor="noisy", noise=noise)
        said.append(env.vocabulary.decode(env.reset(seed=0)[0]).split(" ", 4)[4])
    assert said[0].startswith("push left.")
    assert said[1].startswith("push right.")
    with pytest.raises(UnknownName, match="no language is called 'german'"):
        TextObservation(cart(), language="german")


def test_the_expert_lands_by_words() -> None:
    pytest.importorskip("Box2D", reason="LunarLander needs Box2D")
    env = GuidanceWrapper(gymnasium.make("LunarLander-v3"))
    returns = []
    for seed in range(2):
        env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            action = env._told.guidance.speech.advised(env._rows.advice[0])
            _, _, terminated, truncated, info = env.step(action)
            total, ended = total + info["true_reward"], terminated or truncated
        returns.append(total)
    assert np.mean(returns) > 200  # what counts as solved
