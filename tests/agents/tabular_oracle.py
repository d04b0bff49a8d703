"""The five update rules over plain dictionaries, from a record of what happened."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tabular_envs import Array, Round, State, Table

Bootstrap = Callable[[Round, int, list[float], list[int], Round | None, int], float]


def temporal_difference(rounds: list[Round], bootstrap: Bootstrap, alpha: float, gamma: float) -> Table:
    """Q(s, a) += alpha (r + gamma B(s') - Q(s, a)). The rows of a round see the same table, and change it in turn."""
    size = rounds[0].allowed.shape[1]
    table: Table = {}
    for number, happened in enumerate(rounds):
        following = rounds[number + 1] if number + 1 < len(rounds) else None
        goals = []
        for row, _, _, reward in happened.rows():
            then = happened.next(row)
            if then is None:
                goals.append(reward)
                continue
            mask = [True] * size if happened.cut(row) else happened.allowed_after[row]
            allowed = [action for action in range(size) if mask[action]]
            values = table.get(then, [0.0] * size)
            goals.append(reward + gamma * bootstrap(happened, row, values, allowed, following, number))
        for (_, state, action, _), goal in zip(happened.rows(), goals):
            values = table.setdefault(state, [0.0] * size)
            values[action] += alpha * (goal - values[action])
    return table


def best(happened: Round, row: int, values: list[float], allowed: list[int], *_: Any) -> float:
    """Q-learning's: max_b Q(s', b)."""
    return max(values[action] for action in allowed)


def taken(
    happened: Round, row: int, values: list[float], allowed: list[int], following: Round | None, number: int
) -> float:
    """SARSA's: Q(s', a'), with a' read from the next round; after a cut, where nothing is taken, the greedy one."""
    if happened.cut(row) or following is None:
        return best(happened, row, values, allowed)
    return values[int(following.actions[row])]


def expected(epsilon: Callable[[int], float]) -> Bootstrap:
    """Expected SARSA's: sum_b pi(b|s') Q(s', b), with the epsilon of each round."""

    def bootstrap(happened: Round, row: int, values: list[float], allowed: list[int], _: Any, number: int) -> float:
        greedy = max(allowed, key=lambda action: values[action])
        explore = epsilon(number) / len(allowed)
        pi = {action: explore + (1 - epsilon(number)) * (action == greedy) for action in allowed}
        return sum(pi[action] * values[action] for action in allowed)

    return bootstrap


class Gradient:
    """Preferences and values as dictionaries."""

    def __init__(self, size: int) -> None:
        self.theta: Table = defaultdict(lambda: [0.0] * size)
        self.value: dict[State, float] = defaultdict(float)

    def pi(self, state: State, mask: Array) -> list[float]:
        powers = [math.exp(number) if allowed else 0.0 for number, allowed in zip(self.theta[state], mask)]
        return [power / sum(powers) for power in powers]

    def step(self, moves: list[tuple[State, int, Array, float]]) -> None:
        """theta(s, b) += weight (1[b = a] - pi(b|s)), all with the same pi."""
        changes = [
            (state, [weight * ((b == action) - p) for b, p in enumerate(self.pi(state, mask))])
            for state, action, mask, weight in moves
        ]
        for state, change in changes:
            self.theta[state] = [number + more for number, more in zip(self.theta[state], change)]


def reinforce(rounds: list[Round], alpha: float, value_alpha: float, gamma: float) -> Gradient:
    found = Gradient(rounds[0].allowed.shape[1])
    episodes: dict[int, list[tuple[State, int, Array, float]]] = defaultdict(list)
    for happened in rounds:
        for row, state, action, reward in happened.rows():
            episodes[row].append((state, action, happened.allowed[row], reward))
        for row in range(len(happened.dones)):
            if not happened.dones[row]:
                continue
            then, episode = happened.next(row), episodes.pop(row)
            tail = 0.0 if then is None else gamma ** len(episode) * found.value[then]
            returns = [
                (sum(gamma**k * episode[k][3] for k in range(t, len(episode))) + tail) / gamma**t
                for t in range(len(episode))
            ]
            found.step(
                [
                    (state, action, mask, alpha * gamma**t * (returns[t] - found.value[state]))
                    for t, (state, action, mask, _) in enumerate(episode)
                ]
            )
            for (state, _, _, _), total in zip(episode, returns):
                found.value[state] += value_alpha * (total - found.value[state])
    return found


def actor_critic(rounds: list[Round], alpha: float, value_alpha: float, gamma: float) -> Gradient:
    found = Gradient(rounds[0].allowed.shape[1])
    age: dict[int, int] = defaultdict(int)  # steps of a row's episode so far
    for happened in rounds:
        moves, goals = [], []
        for row, state, action, reward in happened.rows():
            then = happened.next(row)
            goals.append(reward + gamma * (0.0 if then is None else found.value[then]))
            delta = goals[-1] - found.value[state]
            moves.append((state, action, happened.allowed[row], alpha * gamma ** age[row] * delta))
            age[row] = 0 if happened.dones[row] else age[row] + 1
        found.step(moves)
        for (_, state, _, _), goal in zip(happened.rows(), goals):
            found.value[state] += value_alpha * (goal - found.value[state])
    return found
