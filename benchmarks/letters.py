"""A vocabulary so small that all its texts can be listed: over-optimisation of learned proxies, exactly.

In the 4,096 texts of six letters abcd, each a is worth 1 to the gold reward, and three of them side by side cost 3:
what stands in one text of some twenty. Proxies are reward models that `agents.train_reward_model` fits to few or many
pairs of random texts, of which the better by gold is chosen the more surely the better it is. Both rewards have mean 0
and deviation 1 over all texts, and uniform writing is the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agents import AgentPolicy, make, make_vec_env, train_reward_model
from agents.preferences import Preference
from agents.reward_report import sigmoid
from textgym import Episodes, Prompt, Task, Vocabulary, solve
from textgym.arrays import FloatArray
from textgym.prompts import ListedPrompts
from textgym.regularised import RegularisedSolution

LETTERS, LENGTH = "abcd", 6
VOCABULARY = Vocabulary(tuple(LETTERS))
BETAS = tuple(float(beta) for beta in np.geomspace(8.0, 0.001, 60))
TRIED = tuple(2**k for k in range(13))  # n of best-of-n
HELD_OUT = 200  # pairs
SURE = 6.0  # nats by which a deviation of gold is preferred
JUDGE: dict[str, Any] = {"d_model": 32, "n_layers": 1, "n_heads": 2, "dropout": 0.0, "window": LENGTH + 2}
JUDGE |= {"learning_rate": 1e-3, "epochs": 80, "patience": 8}
STEPS, ROWS = 20_000, 64


@dataclass(frozen=True)
class Listed:
    """A reward of finished texts that stands in a table of all of them."""

    table: tuple[float, ...]

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        paid = np.zeros(len(episodes))
        ended = np.flatnonzero(episodes.finished)
        places = episodes.completion[ended] @ len(LETTERS) ** np.arange(LENGTH)[::-1]
        paid[ended] = np.array(self.table)[places]
        return paid


def task(table: FloatArray, gold: FloatArray) -> Task:
    """Return the task that pays a table, and reports gold."""
    nothing = np.zeros(0, np.int32)
    rewards = Listed(tuple(table.tolist())), Listed(tuple(gold.tolist()))
    prompts = ListedPrompts((Prompt(nothing, nothing),))
    return Task(VOCABULARY, prompts, rewards[0], LENGTH, metrics={"gold": rewards[1]})


def texts() -> list[str]:
    """Return all texts, in the order of a table."""
    places = np.indices((len(LETTERS),) * LENGTH).reshape(LENGTH, -1).T  # (4096, 6)
    return ["".join(LETTERS[i] for i in place) for place in places]


def normal(scores: Any) -> FloatArray:
    """Return scores with mean 0 and deviation 1 over all texts."""
    given = np.asarray(scores, np.float64)
    found: FloatArray = (given - given.mean()) / given.std()
    return found


def gold() -> FloatArray:
    """Return what all texts are worth."""
    rows = [sum(text[i : i + 3] == "aaa" for i in range(LENGTH - 2)) for text in texts()]
    return normal([text.count("a") - 3 * three for text, three in zip(texts(), rows)])


def judge(pairs: int, seed: int = 0) -> tuple[FloatArray, float]:
    """Return the scores of all texts of a reward model that learned from pairs, and its accuracy on those held out."""
    wanted = gold()
    rng, listed = np.random.default_rng(seed), texts()
    order = rng.permutation(len(listed)).reshape(-1, 2)  # no text twice, so that none is learned and held out
    first = rng.random(len(order)) < sigmoid(SURE * (wanted[order[:, 0]] - wanted[order[:, 1]]))
    found = [
        Preference("", (listed[a], listed[b]) if one else (listed[b], listed[a])) for (a, b), one in zip(order, first)
    ]
    fit = {"held_out_records": found[-HELD_OUT:], "reference": listed, "seed": seed, **JUDGE}
    trained = train_reward_model(found[:pairs], **fit)
    return normal(trained.model.scores(texts())), trained.figures["pair_accuracy"]


def worth(solution: RegularisedSolution, policy: Sequence[FloatArray], tables: Sequence[FloatArray]) -> list[float]:
    """Return what a policy comes to: its divergence from uniform writing, and its mean of each table.

    Args:
        solution: whose levels list all states; the last one's actions end the texts, in the order of the tables.
        policy: probabilities of each level, `(N, 4)`.
        tables: of all texts, `(4096,)`.
    """
    mass, kl = np.ones(1), 0.0
    for level, chosen in zip(solution.levels, policy):
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(chosen > 0, chosen * np.log(chosen * len(LETTERS)), 0.0)
        kl += float(mass @ terms.sum(axis=1))
        flow = mass[:, None] * chosen
        last, mass = (level, flow), level.passed_on(flow)
    level, flow = last
    written = np.repeat(level.episodes.completion, len(LETTERS), axis=0)  # (4096, 6), but for the last letter
    written[:, -1] = np.tile(np.arange(len(LETTERS)), len(level.episodes))
    places = written @ len(LETTERS) ** np.arange(LENGTH)[::-1]
    return [kl, *(float(flow.ravel() @ table[places]) for table in tables)]


def frontier(table: FloatArray, wanted: FloatArray) -> list[list[float]]:
    """Return beta, divergence, proxy and gold of each regularised optimum of a proxy."""
    paid = task(table, wanted)
    found = []
    for beta in BETAS:
        solution = solve(paid, kl_coefficient=beta)
        kl, proxy, wanted_mean = worth(solution, solution.policy, (table, wanted))
        assert np.isclose(solution.kl, kl)
        assert np.isclose(solution.expected_return, proxy)
        found.append([beta, kl, proxy, wanted_mean])
    return found


def best_of(table: FloatArray, wanted: FloatArray) -> list[list[float]]:
    """Return n, the exact divergence, and exact proxy and gold, of the best of n uniform texts by a proxy."""
    _, tie, many = np.unique(table, return_inverse=True, return_counts=True)
    below = np.cumsum(many) / len(table)
    found = []
    for n in TRIED:
        mass = np.diff(below**n, prepend=0.0)[tie] / many[tie]  # (4096,): equal scores share alike
        terms = mass[mass > 0] * np.log(mass[mass > 0] * len(table))
        found.append([n, float(terms.sum()), float(mass @ table), float(mass @ wanted)])
    return found


class Course(BaseCallback):
    """Notes step, divergence, proxy and gold of a policy, all exact, some times while it learns."""

    def __init__(self, table: FloatArray, wanted: FloatArray, every: int) -> None:
        super().__init__()
        self.tables, self.every, self.points = (table, wanted), every, list[list[float]]()
        self.solution = solve(task(table, wanted), kl_coefficient=1.0)
        self._due = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._due:
            self.note()
            self._due = self.num_timesteps + self.every

    def _on_training_end(self) -> None:
        self.note()

    def note(self) -> None:
        """Note where the policy stands now."""
        levels, reader = self.solution.levels, AgentPolicy(self.model)
        seen = [level.episodes.tokens for level in levels]
        chosen = [reader(tokens, np.ones((len(tokens), len(LETTERS)), np.bool_)) for tokens in seen]
        self.points.append([self.num_timesteps, *worth(self.solution, chosen, self.tables)])


def learn(table: FloatArray, wanted: FloatArray, beta: float, seed: int) -> list[list[float]]:
    """Let PPO write for a proxy; return its course."""
    course = Course(table, wanted, STEPS // 50)
    env = make_vec_env(task(table, wanted), ROWS, seed=seed)
    kept = {"kl_coefficient": beta, "reference": "uniform"} if beta else {}
    settings: dict[str, Any] = {
        "n_steps": 2 * LENGTH,
        "batch_size": 384,
        "gamma": 1.0,
        "ent_coef": 0.0,
        "learning_rate": 5e-4,
    }
    settings["policy"] = {"d_model": 32, "n_layers": 1, "n_heads": 2}
    make("ppo", env, seed=seed, device="cpu", **settings, **kept).learn(STEPS, callback=course)
    return course.points


def jobs(pairs: Sequence[int], betas: Sequence[float], seeds: Sequence[int]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each piece of work, and what does it and returns plain data."""
    wanted = gold()
    judged: dict[int, tuple[FloatArray, float]] = {}

    def scores(n: int) -> FloatArray:
        if n not in judged:
            judged[n] = judge(n)
        return judged[n][0]

    def about(n: int) -> dict[str, Any]:
        table = scores(n)
        correlation = float(np.corrcoef(table, wanted)[0, 1])
        return {"accuracy": judged[n][1], "correlation": correlation, "best": texts()[int(table.argmax())]}

    yield "letters/gold/frontier", lambda: frontier(wanted, wanted)
    for n in pairs:
        yield f"letters/{n}/judge", lambda n=n: about(n)
        yield f"letters/{n}/frontier", lambda n=n: frontier(scores(n), wanted)
        yield f"letters/{n}/best-of-n", lambda n=n: best_of(scores(n), wanted)
        for beta in betas:
            for seed in seeds:
                yield f"letters/{n}/ppo/{beta:g}/{seed}", lambda n=n, b=beta, s=seed: learn(scores(n), wanted, b, s)
