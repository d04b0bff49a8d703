"""Noise and Scale: chance as a function of seed and step, against integers and floats of plain Python."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym import Prompt, load_task, solve
from textgym.arrays import FloatArray
from textgym.chance import gaussian, splitmix64
from textgym.envs.noise import noise
from textgym.envs.scale import scale
from textgym.errors import InvalidSetting, InvalidTarget, InvalidVocabulary
from textgym.prompts import ListedPrompts, RandomStrings, SeededPrompts
from textgym.rollouts import random_return, rollout, write_target
from textgym.vocabulary import Vocabulary

MANY = 200_000


def test_splitmix64_gives_the_published_numbers() -> None:
    state, places = np.zeros(3, np.uint64), np.arange(1, 4)
    assert splitmix64(state, places).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(state + np.uint64(1234567), places).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def by_hand(seed: int, length: int) -> float:
    """The draw of a seed and a length, by Python's own integers."""

    def output(state: int, n: int) -> int:
        z = (state + n * 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    radius, angle = ((output(output(seed, 1), 2 * length + k) >> 11) / 2**53 for k in (1, 2))
    return math.sqrt(-2 * math.log(1 - radius)) * math.cos(2 * math.pi * angle)


def test_draws_agree_with_integers_of_any_size() -> None:
    seeds = [0, 1, 2, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15]
    pairs = [(seed, length) for seed in seeds for length in (0, 1, 2, 7, 1000, 10**12)]
    drawn = gaussian(np.array([s for s, _ in pairs], np.uint64), np.array([k for _, k in pairs]))
    np.testing.assert_allclose(drawn, [by_hand(*pair) for pair in pairs], rtol=1e-12, atol=1e-15)


def test_a_draw_does_not_depend_on_the_rows_beside_it() -> None:
    seeds = np.random.default_rng(0).integers(2**64, size=100, dtype=np.uint64)
    lengths = np.arange(100) % 9
    alone = [gaussian(seeds[i : i + 1], lengths[i : i + 1])[0] for i in range(100)]
    assert gaussian(seeds, lengths).tolist() == alone


def streams() -> dict[str, FloatArray]:
    """Draws along everything that a task counts in: steps, seeds that follow each other, seeds of chance."""
    rows, zeros = np.arange(MANY), np.zeros(MANY, np.int64)
    chance = np.random.default_rng(1).integers(2**64, size=MANY, dtype=np.uint64)
    return {
        "steps": gaussian(zeros.astype(np.uint64), rows),
        "seeds": gaussian(rows.astype(np.uint64), zeros + 1),
        "golden seeds": gaussian(rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), zeros + 1),
        "drawn seeds": gaussian(chance, zeros + 3),
    }


@pytest.mark.parametrize("name", list(streams()))
def test_draws_are_standard_normal_and_independent(name: str) -> None:
    drawn, error = streams()[name], MANY**-0.5
    assert abs(drawn.mean()) < 4 * error
    assert abs(drawn.std() - 1) < 4 * error
    for bound, share in ((0.5, 0.382925), (1.0, 0.682689), (2.0, 0.954500), (3.0, 0.997300)):
        assert abs((np.abs(drawn) < bound).mean() - share) < 4 * error
    for lag in (1, 2, 3, 10):
        assert abs((drawn[lag:] * drawn[:-lag]).mean()) < 4 * error
        assert abs((drawn[lag:] ** 2 * drawn[:-lag] ** 2).mean() - 1) < 10 * error


def test_no_seeds_stream_is_anothers_shifted() -> None:
    """Seeds one golden ratio apart would be, were outputs counted from the seed itself."""
    lengths = np.arange(1, 5001)
    golden = 0x9E3779B97F4A7C15
    here = gaussian(np.full(5000, 5, np.uint64), lengths)
    for apart in (1, golden, 2 * golden % 2**64, 4 * golden % 2**64):
        there = gaussian(np.full(5000, (5 + apart) % 2**64, np.uint64), lengths)
        for shift in range(4):
            assert abs((here[shift:] * there[: 5000 - shift]).mean()) < 4 * 5000**-0.5
            assert not np.isin(here, there).any()


def played(env: gym.Env[Any, Any], text: str, seed: int) -> list[float]:
    """Return the rewards of a text."""
    env.reset(seed=seed)
    ids = load_task("TextGym/Noise-v0").vocabulary.encode(text)
    return [float(env.step(int(token))[1]) for token in ids]


def test_noise_comes_on_top_of_the_share_of_each_token() -> None:
    env = gym.make("TextGym/Noise-v0", noise=0.5)
    for text, signs in (("signal", [1] * 6), ("sisnal", [1, 1, -1, 1, 1, 1]), ("llllll", [-1] * 5 + [1])):
        for seed in range(3):
            rewards = played(env, text, seed)
            own = int(env.unwrapped.episodes.seed[0])  # type: ignore[attr-defined]
            expected = [sign / 6 + 0.5 * by_hand(own, length) for length, sign in enumerate(signs, 1)]
            assert rewards == pytest.approx(expected, abs=1e-12)


def test_the_same_seed_is_as_noisy_again_and_another_otherwise() -> None:
    env = gym.make("TextGym/Noise-v0")
    assert played(env, "signal", 7) == played(env, "signal", 7) != played(env, "signal", 8)
    env.reset(seed=7)
    seeds = set()
    for _ in range(50):
        seeds.add(int(env.unwrapped.episodes.seed[0]))  # type: ignore[attr-defined]
        env.reset()
    assert len(seeds) == 50
    assert max(seeds) > 2**63


def test_noise_does_not_depend_on_what_is_written() -> None:
    env = gym.make("TextGym/Noise-v0", noise=3.0)
    right, wrong = played(env, "signal", 3), played(env, "llllli", 3)
    assert np.array(right) - np.array(wrong) == pytest.approx([1 / 3] * 6)


def test_without_noise_the_target_earns_one() -> None:
    assert sum(played(gym.make("TextGym/Noise-v0", noise=0), "signal", 0)) == pytest.approx(1)
    assert sum(played(gym.make("TextGym/Noise-v0", noise=0), "signaa", 0)) == pytest.approx(4 / 6)


@pytest.mark.parametrize("deviation", [0.1, 1.0, 4.0])
def test_returns_are_the_solvers_on_average_and_spread_as_declared(deviation: float) -> None:
    task = load_task("TextGym/Noise-v0", noise=deviation)
    returns, episodes = rollout(task, write_target, 20_000, seed=0)
    spread = deviation * 6**0.5
    assert solve(task).optimal_return == pytest.approx(1)
    assert abs(returns.mean() - 1) < 4 * spread / 20_000**0.5
    assert abs(returns.std() / spread - 1) < 4 / 20_000**0.5
    assert task.measure(episodes)["success"].all()
    mean, error = random_return(task)
    assert abs(mean - (1 - 5) / 6) < 4 * error


@pytest.mark.parametrize("factor", [1e-3, 1, 1000.0, 12345])
def test_scale_multiplies_every_reward(factor: float) -> None:
    env, plain = gym.make("TextGym/Scale-v0", factor=factor), gym.make("TextGym/Noise-v0", noise=0)
    for text in ("signal", "slgnal", "aaaaaa"):
        assert played(env, text, 0) == pytest.approx([factor * reward for reward in played(plain, text, 0)])
    assert sum(played(env, "signal", 0)) == pytest.approx(factor)
    assert solve("TextGym/Scale-v0", factor=factor).optimal_return == pytest.approx(factor)


def test_the_default_factor_is_a_thousand() -> None:
    assert played(gym.make("TextGym/Scale-v0"), "ssgnal", 0) == pytest.approx([1000 / 6, -1000 / 6] + [1000 / 6] * 4)


@pytest.mark.parametrize("id", ["TextGym/Noise-v0", "TextGym/Scale-v0"])
def test_several_targets_are_shown_and_each_divides_by_its_own_length(id: str) -> None:
    knob = {"noise": 0} if "Noise" in id else {"factor": 1.0}
    env = gym.make(id, target=["ab", "bcca"], **knob)
    assert env.observation_space == gym.spaces.Box(0, 3, (8,), np.int32)
    for seed in range(6):
        shown = [token for token in env.reset(seed=seed)[0].tolist() if token < 3]
        steps = [env.step(token) for token in shown]
        assert [reward for _, reward, *_ in steps] == [1 / len(shown)] * len(shown)
        assert steps[-1][2]
        assert steps[-1][4]["is_success"]


def test_seeded_prompts_are_those_of_another_generator_with_a_seed() -> None:
    for inner in (
        RandomStrings(Vocabulary(tuple("ab$"), eos="$"), 1, 2, np.sort),
        ListedPrompts(tuple(Prompt(np.array([i]), np.array([i])) for i in range(3))),
    ):
        seeded = SeededPrompts(inner)
        mine, plain = seeded(np.random.default_rng(4)), inner(np.random.default_rng(4))
        assert (mine.tokens.tolist(), mine.target.tolist()) == (plain.tokens.tolist(), plain.target.tolist())
        assert mine.seed != plain.seed == 0
        assert (seeded.max_length, seeded.max_target) == (inner.max_length, inner.max_target)
        assert [p.tokens.tolist() for p in seeded.support()[0]] == [p.tokens.tolist() for p in inner.support()[0]]


@pytest.mark.parametrize("value", [-1, -0.001, 1e31, float("nan"), float("inf"), "1", None, True, [1.0], 10**400])
def test_what_is_no_deviation_is_refused(value: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"noise=.* is no deviation\. Give a number from 0 to 1e\+30"):
        noise(noise=value)


@pytest.mark.parametrize("value", [0, -1, 1e31, float("nan"), float("inf"), "1", None, True, [1.0], 10**400])
def test_what_scales_nothing_is_refused(value: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"factor=.* scales no reward\. Give a number above 0, 1e\+30 at most"):
        scale(factor=value)


@pytest.mark.parametrize("factory", [noise, scale])
def test_targets_are_refused_as_textgen_refuses_them(factory: Any) -> None:
    for kwargs, error, match in (
        ({"target": ""}, InvalidTarget, "target='' is empty or no text"),
        ({"target": 5}, InvalidTarget, "target=5 is empty or no text"),
        ({"target": "ab", "alphabet": "a"}, InvalidTarget, "target 'ab' has 'b'"),
        ({"alphabet": "signall"}, InvalidVocabulary, "'l' is given twice"),
    ):
        with pytest.raises(error, match=match):
            factory(**kwargs)
