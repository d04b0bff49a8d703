"""RandomWalks against trlx's formula in plain Python, and its graph against a search by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym import Episodes, Task, TextGenEnv, solve
from textgym.arrays import IntArray
from textgym.envs.random_walks import Edges, WalkEnd, random_graph, random_walks
from textgym.errors import InvalidSetting, InvalidSize
from textgym.rollouts import rollout, write_random, write_target

ID = "TextGym/RandomWalks-v0"
# The edges of trlx's graph, the seventh that its seed draws, and the nodes of a shortest walk from each start.
EDGES = {
    "a": "a", "b": "a", "c": "ou", "d": "noqu", "e": "jor", "f": "p", "g": "bq", "h": "n", "i": "np", "j": "gmqr",
    "k": "air", "l": "cdu", "m": "h", "n": "b", "o": "st", "p": "imn", "q": "kmp", "r": "mp", "s": "en", "t": "b",
    "u": "a",
}  # fmt: skip
SHORTEST = {
    "b": "ba", "c": "cua", "d": "dua", "e": "eotba", "f": "fpnba", "g": "gba", "h": "hnba", "i": "inba", "j": "jgba",
    "k": "ka", "l": "lua", "m": "mhnba", "n": "nba", "o": "otba", "p": "pnba", "q": "qka", "r": "rpnba", "s": "snba",
    "t": "tba", "u": "ua",
}  # fmt: skip


def optimality(walk: str, edges: dict[str, str], max_length: int, shortest: int) -> float:
    """trlx's score: walks that are invalid or do not arrive count as long as the longest."""
    length = max_length
    for place, node in enumerate(walk):
        if place and node not in edges[walk[place - 1]]:
            break
        if node == "a":
            length = place + 1
            break
    return (max_length - length) / (max_length - shortest)


def letters(graph: Any) -> dict[str, str]:
    """Return a graph's edges as letters."""
    return {chr(97 + i): "".join(chr(97 + j) for j in np.flatnonzero(row)) for i, row in enumerate(graph)}


def fewest(edges: dict[str, str], start: str) -> int:
    """Return the nodes of a shortest walk by trying all walks, 0 where there is none."""
    ends, seen = {start}, set[str]()
    for length in itertools.count(1):
        if "a" in ends:
            return length
        if ends <= seen:
            return 0
        seen |= ends
        ends = {after for node in ends for after in edges[node]}
    raise AssertionError


def walked(env: gym.Env[Any, Any], text: str) -> tuple[list[float], list[bool], dict[str, Any]]:
    """Walk a text, whose first node must be where an episode starts; return rewards, ends and the last info."""
    for seed in itertools.count():
        if chr(97 + env.reset(seed=seed)[0][0]) == text[0]:
            break
    steps = [env.step(ord(node) - 97) for node in text[1:]]
    return [float(step[1]) for step in steps], [bool(step[2]) for step in steps], steps[-1][4]


def test_the_graph_is_trlxs() -> None:
    assert letters(random_graph(21, 0.1, 1002)) == EDGES
    assert {start: fewest(EDGES, start) for start in SHORTEST} == {start: len(way) for start, way in SHORTEST.items()}
    assert all(after in EDGES[node] for way in SHORTEST.values() for node, after in itertools.pairwise(way))


def test_graphs_are_drawn_as_trlx_draws_them_whatever_the_seed() -> None:
    for nodes, p, seed in [(21, 0.1, 0), (5, 0.4, 7), (26, 0.2, 3), (2, 1.0, 1)]:
        rng = np.random.RandomState(seed)
        while True:
            drawn = rng.rand(nodes, nodes) > (1 - p)
            np.fill_diagonal(drawn, 0)
            if np.all(drawn.sum(1)):
                break
        drawn[0, :] = 0
        drawn[0, 0] = 1
        assert random_graph(nodes, p, seed).tolist() == drawn.tolist()


def test_spaces_and_prompts() -> None:
    env = gym.make(ID)
    assert env.action_space == gym.spaces.Discrete(21)
    assert env.observation_space == gym.spaces.Box(0, 21, (10,), np.int32)
    prompts, probabilities = random_walks().prompts.support()  # type: ignore[attr-defined]
    decode = random_walks().vocabulary.decode
    assert [decode(prompt.tokens) for prompt in prompts] == list("bcdefghijklmnopqrstu")
    assert {len(decode(p.tokens) + decode(p.target)) - fewest(EDGES, decode(p.tokens)) for p in prompts} == {0}
    np.testing.assert_allclose(probabilities, 1 / 20)


def test_walks_worked_by_hand() -> None:
    env = gym.make(ID)
    yes, no = ({"is_success": told, "metrics": {"success": float(told)}} for told in (True, False))
    assert walked(env, "eotba") == ([0, 0, 0, 1], [False] * 3 + [True], yes)
    assert walked(env, "eosnba") == ([0] * 4 + [pytest.approx(4 / 5)], [False] * 4 + [True], no)
    assert walked(env, "ba") == ([1], [True], yes)
    assert walked(env, "bc") == ([0], [True], no)  # no edge
    assert walked(env, "bb") == ([0], [True], no)
    assert walked(env, "ca") == ([0], [True], no)  # the goal, but by no edge
    assert walked(env, "cop") == ([0, 0], [False, True], no)  # no edge, later
    assert walked(env, "fpipipipip") == ([0] * 9, [False] * 8 + [True], no)  # ten nodes, and not arrived
    assert walked(env, "fpipipnba") == ([0] * 7 + [pytest.approx(1 / 5)], [False] * 7 + [True], no)
    assert walked(env, "mhnba") == ([0, 0, 0, 1], [False] * 3 + [True], yes)
    assert walked(env, "jqmhnba")[0] == [0] * 5 + [pytest.approx(3 / 6)]


def test_arriving_with_the_last_node_earns_nothing_as_in_trlx() -> None:
    env = gym.make(ID, max_length=6)
    assert walked(env, "pipnba") == ([0] * 5, [False] * 4 + [True], {"is_success": False, "metrics": {"success": 0.0}})
    assert optimality("pipnba", EDGES, 6, 4) == 0


def mostly_edges(task: Task, episodes: Episodes, rng: np.random.Generator) -> IntArray:
    """Follow an edge nine times out of ten."""
    assert isinstance(task.ends, WalkEnd)
    masked = replace(task, mask=Edges(task.ends.walk))
    stray = rng.random(len(episodes)) < 0.1
    return np.where(stray, rng.integers(task.size, size=len(episodes)), write_random(masked, episodes, rng))


@pytest.mark.parametrize(
    ("graph", "most", "mask"),
    [((21, 0.1, 1002), 10, False), ((21, 0.1, 1002), 10, True), ((21, 0.1, 1002), 6, False), ((8, 0.2, 4), 10, False)],
)
def test_rewards_are_trlxs_on_random_walks(graph: tuple[int, float, int], most: int, mask: bool) -> None:
    task, edges = random_walks(*graph, max_length=most, mask=mask), letters(random_graph(*graph))
    paid = set()
    for writer in (write_random, write_target, mostly_edges):
        returns, episodes = rollout(task, writer, 400, seed=2)
        success = task.measure(episodes)["success"]
        for row in range(400):
            start = task.vocabulary.decode(episodes.prompt[row])
            walk, least = start + episodes.text(row), fewest(edges, start)
            assert returns[row] == pytest.approx(optimality(walk, edges, most, least))
            assert success[row] == (returns[row] == 1)
            broken = walk[-1] not in edges[walk[-2]]
            assert len(walk) == most or walk[-1] == "a" or broken
            assert not (broken and mask and writer is write_random)
            paid.add(round(float(returns[row]), 6))
    assert {0.0, 1.0} < paid


def test_every_start_can_earn_one_and_shortest_walks_are_counted() -> None:
    solution = solve(ID)
    assert solution.values[0] == pytest.approx([1.0] * 20)

    def ways(node: str, steps: int) -> int:
        return int(node == "a") if steps == 0 else sum(ways(after, steps - 1) for after in EDGES[node])

    assert solution.optimal_completions.tolist() == [ways(start, len(way) - 1) for start, way in SHORTEST.items()]
    masked = solve(ID, mask=True)
    assert masked.optimal_return == solution.optimal_return
    assert masked.optimal_completions.tolist() == solution.optimal_completions.tolist()


def test_the_mask_leaves_the_edges() -> None:
    env = gym.make(ID, mask=True).unwrapped
    assert isinstance(env, TextGenEnv)
    assert env.action_masks().any()  # before the first reset, too
    for seed in range(10):
        env.reset(seed=seed)
        at = chr(97 + int(env.episodes.prompt[0, 0]))
        while not env.episodes.finished[0]:
            assert "".join(chr(97 + i) for i in np.flatnonzero(env.action_masks())) == EDGES[at]
            at = EDGES[at][-1]
            env.step(ord(at) - 97)
    free = gym.make(ID).unwrapped
    assert isinstance(free, TextGenEnv)
    free.reset(seed=0)
    assert free.action_masks().all()


def test_starts_that_can_earn_nothing_are_not_drawn() -> None:
    found = 0
    for seed in range(30):
        edges = letters(random_graph(8, 0.2, seed))
        expected = [start for start in list(edges)[1:] if 0 < fewest(edges, start) < 4]
        if not expected:
            with pytest.raises(InvalidSetting, match=f"no walk of fewer than 4 nodes .*graph_seed={seed}"):
                random_walks(8, 0.2, seed, max_length=4)
            continue
        task = random_walks(8, 0.2, seed, max_length=4)
        prompts, _ = task.prompts.support()  # type: ignore[attr-defined]
        assert [task.vocabulary.decode(prompt.tokens) for prompt in prompts] == expected
        assert solve(task).values[0] == pytest.approx([1.0] * len(expected))
        found += len(expected) < 7
    assert found > 5


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"nodes": 1}, InvalidSize, "nodes=1 are not from 2 to 26"),
        ({"nodes": 27}, InvalidSize, "nodes=27 are not from 2 to 26"),
        ({"nodes": 0}, InvalidSize, "nodes=0 is not a size"),
        ({"nodes": True}, InvalidSize, "nodes=True is not a size"),
        ({"max_length": 0}, InvalidSize, "max_length=0 is not a size"),
        ({"max_length": 9.5}, InvalidSize, r"max_length=9\.5 is not a size"),
        ({"max_length": 1}, InvalidSetting, "no walk of fewer than 1 nodes arrives"),
        ({"max_length": 2}, InvalidSetting, "no walk of fewer than 2 nodes arrives"),
        ({"edge_probability": 0}, InvalidSetting, "edge_probability=0 is no probability above 0"),
        ({"edge_probability": 1.1}, InvalidSetting, r"edge_probability=1\.1 is no probability"),
        ({"edge_probability": float("nan")}, InvalidSetting, "edge_probability=nan is no probability"),
        ({"edge_probability": "0.1"}, InvalidSetting, r"edge_probability='0\.1' is no probability"),
        ({"edge_probability": True}, InvalidSetting, "edge_probability=True is no probability"),
        ({"edge_probability": 0.001}, InvalidSetting, r"leaves some of 21 nodes without a way out.* 10,000 graphs"),
        ({"graph_seed": -1}, InvalidSetting, "graph_seed=-1 is out of range. Give an integer from 0"),
        (
            {"graph_seed": 2**32},
            InvalidSetting,
            "graph_seed=4294967296 is out of range. Give an integer from 0",
        ),
        ({"graph_seed": 1.0}, InvalidSetting, r"graph_seed=1\.0 is out of range. Give an integer from 0"),
        ({"graph_seed": True}, InvalidSetting, "graph_seed=True is out of range. Give an integer from 0"),
        ({"mask": "True"}, InvalidSetting, "mask='True' is neither True nor False"),
        ({"mask": 1}, InvalidSetting, "mask=1 is neither True nor False"),
    ],
)
def test_impossible_arguments_are_refused(kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        random_walks(**kwargs)
