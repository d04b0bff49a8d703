"""Corners against a walk of its own: coordinates, floats, one row."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym import load_task
from textgym.envs.corners import corners
from textgym.errors import InvalidSetting, InvalidSize

ID = "TextGym/Corners-v0"
CORNERS = {"↗": (1.0, 1.0), "↖": (-1.0, 1.0), "↙": (-1.0, -1.0), "↘": (1.0, -1.0)}
MOVES = "→←↑↓"


def moved(x: float, y: float, token: str, step: float) -> tuple[float, float]:
    """Make one move, and none that leads out of the square."""
    x_new = x + step if token == "→" else x - step if token == "←" else x
    y_new = y + step if token == "↑" else y - step if token == "↓" else y
    return (x, y) if max(abs(x_new), abs(y_new)) > 1 + 1e-9 else (x_new, y_new)


def prompt_of(observation: Any) -> str:
    """Return the corner that an observation begins with."""
    return corners().vocabulary.decode(observation[:1])


def test_spaces_and_symbols() -> None:
    env = gym.make(ID)
    assert env.action_space == gym.spaces.Discrete(4)
    assert env.observation_space == gym.spaces.Box(0, 8, (17,), np.int32)
    assert load_task(ID).vocabulary.pieces == tuple("→←↑↓↗↖↙↘")


@given(
    st.integers(0, 2**32), st.sampled_from([1, 0.5, 0.25, 0.2, 0.1]), st.lists(st.integers(0, 3), min_size=1), st.data()
)
def test_walks_agree_with_a_simulation(seed: int, step: float, tokens: list[int], data: st.DataObject) -> None:
    env = gym.make(ID, step=step, horizon=data.draw(st.integers(round(2 / step), round(2 / step) + 30)))
    horizon = env.observation_space.shape[0] - 1  # type: ignore[index]
    observation, _ = env.reset(seed=seed)
    (x, y), total = CORNERS[prompt_of(observation)], 0.0
    for count, token in enumerate(tokens, 1):
        before = abs(x) + abs(y)
        x, y = moved(x, y, MOVES[token], step)
        _, reward, terminated, truncated, info = env.step(token)
        total += float(reward)
        arrived = abs(x) + abs(y) < 1e-9
        assert reward == pytest.approx(before - abs(x) - abs(y), abs=1e-9)
        assert total == pytest.approx(2 - abs(x) - abs(y), abs=1e-9)  # it telescopes
        assert terminated == (arrived or count == horizon)
        assert not truncated
        if terminated:
            assert info == {"is_success": arrived, "metrics": {"success": float(arrived)}}
            break
        assert info == {}


def test_a_batch_of_walks_agrees_with_a_simulation() -> None:
    n, step = 64, 0.25
    task = corners(step, horizon=40)
    rng = np.random.default_rng(0)
    episodes = task.blank(n)
    episodes.begin(..., [task.prompts(rng) for _ in range(n)])
    places = [CORNERS[task.vocabulary.decode(episodes.prompt[row])] for row in range(n)]
    ended = 0
    while (rows := np.flatnonzero(~episodes.finished)).size > 0:
        rows = rng.permutation(rows)[: 1 + 2 * len(rows) // 3]  # rows fall apart in length
        actions = rng.choice(4, len(rows), p=[0.2, 0.3, 0.2, 0.3])
        rewards = task.step(episodes, actions, rows)
        for row, action, reward in zip(rows, actions, rewards):
            (x, y), (u, v) = places[row], moved(*places[row], MOVES[action], step)
            places[row] = u, v
            assert reward == pytest.approx(abs(x) + abs(y) - abs(u) - abs(v))
            assert episodes.finished[row] == (u == v == 0 or episodes.length[row] == 40)
            ended += u == v == 0
    assert task.measure(episodes)["success"].sum() == ended
    assert 0 < ended < n


@pytest.mark.parametrize(("step", "moves"), [(1, 1), (0.5, 2), (0.25, 4)])
def test_the_shortest_way_earns_two_and_succeeds(step: float, moves: int) -> None:
    env = gym.make(ID, step=step)
    starts = set()
    for seed in range(20):
        corner = prompt_of(env.reset(seed=seed)[0])
        starts.add(corner)
        x, y = CORNERS[corner]
        way = ("←" if x > 0 else "→") * moves + ("↓" if y > 0 else "↑") * moves
        steps = [env.step(MOVES.index(token)) for token in way]
        assert sum(float(reward) for _, reward, *_ in steps) == 2
        assert [terminated for _, _, terminated, _, _ in steps] == [False] * (2 * moves - 1) + [True]
        assert steps[-1][4]["is_success"] is True
    assert starts == set(CORNERS)


def test_a_move_out_of_the_square_costs_nothing_and_leads_nowhere() -> None:
    env = gym.make(ID)
    x, _ = CORNERS[prompt_of(env.reset(seed=0)[0])]
    out, back = ("→", "←") if x > 0 else ("←", "→")
    earned = [float(env.step(MOVES.index(token))[1]) for token in (out, out, back, out, back, back, back)]
    assert earned == [0, 0, 0.5, -0.5, 0.5, 0.5, -0.5]


def test_walking_up_and_down_pays_nothing_until_the_horizon_ends_it() -> None:
    env = gym.make(ID, horizon=6)
    x, _ = CORNERS[prompt_of(env.reset(seed=3)[0])]
    there, back = ("←", "→") if x > 0 else ("→", "←")
    steps = [env.step(MOVES.index(token)) for token in (there, back) * 3]
    assert sum(float(reward) for _, reward, *_ in steps) == 0
    assert [terminated for _, _, terminated, _, _ in steps] == [False] * 5 + [True]
    assert steps[-1][4]["is_success"] is False


@pytest.mark.parametrize("step", [0, -0.5, 0.3, 2, 1.5, float("nan"), float("inf"), "0.5", None])
def test_a_step_that_does_not_divide_one_is_refused(step: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"step={step!r} does not divide 1"):
        corners(step)


def test_a_horizon_too_short_to_arrive_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="horizon=3 is shorter than the longest target, 4 tokens"):
        corners(horizon=3)
    for horizon in (0, -1, 4.0):
        with pytest.raises(InvalidSize, match=f"horizon={horizon!r} is not a size"):
            corners(horizon=horizon)  # type: ignore[arg-type]
