"""What an agent is worth: every episode counts once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from agents import make_vec_env
from agents.evaluation import evaluate
from agents.tabular.q_learning import QLearning
from textgym import Task, load_task
from textgym.errors import InvalidSize

Array = npt.NDArray[Any]


class Writer:
    """An agent that a function of one observation makes; it keeps the prompts that it was first shown."""

    def __init__(self, act: Callable[[list[int]], int]) -> None:
        self.act = act
        self.first: Array | None = None
        self.greedy: set[bool] = set()

    def learn(self, total_timesteps: int, callback: Any = None, *, progress_bar: bool = False) -> None:
        raise AssertionError("nothing is learned in an evaluation")

    def predict(
        self, observation: Array, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        self.first = observation.copy() if self.first is None else self.first
        self.greedy.add(deterministic)
        return np.array([self.act(row) for row in observation.tolist()]), None


def copier(row: list[int]) -> int:
    """Copy strings over {a, b} of up to 4 letters ($ is 2, pad 3), but end at once where the prompt begins with b."""
    prompt = [token for token in row[:4] if token != 3]
    written = [token for token in row[4:] if token != 3]
    return 2 if prompt[0] == 1 else [*prompt, 2][len(written)]


COPY = load_task("TextGym/Copy-v0", alphabet="ab", min_length=1, max_length=4)


def test_episodes_that_end_early_count_as_often_as_long_ones() -> None:
    agent = Writer(copier)
    result = evaluate(agent, COPY, episodes=200, seed=3, samples=0)
    assert agent.first is not None
    begins = [next(token for token in row if token != 3) for row in agent.first.tolist()]
    share = begins.count(0) / 200
    assert 0.3 < share < 0.7
    assert result.mean_return == pytest.approx(share)
    assert result.standard_error == pytest.approx((share * (1 - share) / (result.episodes - 1)) ** 0.5)
    assert (result.success_rate, result.episodes, len(agent.first)) == (share, 200, 200)


def test_samples_are_prompt_and_completion_of_the_first_episodes() -> None:
    agent = Writer(copier)
    result = evaluate(agent, COPY, episodes=6, samples=4)
    assert agent.first is not None
    prompts = ["".join("ab"[token] for token in row[:4] if token != 3) for row in agent.first.tolist()]
    assert result.samples == [f"{p} → $" if p[0] == "b" else f"{p} → {p}$" for p in prompts[:4]]
    assert len(evaluate(agent, COPY, episodes=2).samples) == 2


def unit(episodes: Any) -> Array:
    """Pay 1 for every token."""
    return np.ones(len(episodes))


def test_success_is_none_where_a_task_has_none() -> None:
    task: Task = replace(COPY, metrics={}, reward=unit)
    result = evaluate(Writer(copier), task, episodes=50)
    assert result.success_rate is None
    assert result.to_dict() == {
        "mean_return": result.mean_return,
        "standard_error": result.standard_error,
        "success_rate": None,
        "episodes": 50,
        "samples": result.samples,
    }


def test_returns_are_undiscounted_sums() -> None:
    task = load_task("TextGen-v0", target="aab", alphabet="ab")
    assert evaluate(Writer(lambda row: 0), task, episodes=2).mean_return == 1.0  # +1 +1 -1
    assert evaluate(Writer(lambda row: 1), task, episodes=2).mean_return == -1.0


def test_the_seed_decides_the_prompts() -> None:
    agents = [Writer(copier) for _ in range(3)]
    for agent, seed in zip(agents, (1, 1, 2)):
        evaluate(agent, COPY, episodes=30, seed=seed)
    firsts = [agent.first for agent in agents]
    np.testing.assert_array_equal(firsts[0], firsts[1])
    assert np.any(firsts[0] != firsts[2])


def test_actions_are_greedy_unless_samples_are_asked_for() -> None:
    agent = QLearning(make_vec_env("TextGen-v0", 1), epsilon=(1.0, 1.0), seed=0).learn(3_000)
    greedy = evaluate(agent, load_task("TextGen-v0"), 200)
    sampled = evaluate(agent, load_task("TextGen-v0"), 200, deterministic=False)
    assert (greedy.mean_return, greedy.success_rate) == (3.0, 1.0)
    assert -2 < sampled.mean_return < 0  # random writing earns 3 (1/3 - 2/3) = -1
    assert len(set(sampled.samples)) > 1


@pytest.mark.parametrize("episodes", [0, -3, 2.5])
def test_a_number_of_episodes_that_is_no_size_is_refused(episodes: int) -> None:
    with pytest.raises(InvalidSize, match=f"episodes={episodes}"):
        evaluate(Writer(copier), COPY, episodes)


class Counter(Writer):
    """A recurrent agent: it copies by counting its own steps, whatever the observation says was written."""

    def predict(
        self, observation: Array, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        assert episode_start is not None
        steps = np.where(episode_start, 0, 0 if state is None else state)
        asked = [[token for token in row[:4] if token != 3] for row in observation.tolist()]
        return np.array([[*prompt, 2][step] for prompt, step in zip(asked, steps)]), steps + 1


def test_a_recurrent_agent_keeps_its_state() -> None:
    result = evaluate(Counter(copier), COPY, episodes=20)
    assert result.success_rate == 1.0
