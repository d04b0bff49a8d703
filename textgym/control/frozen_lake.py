"""FrozenLake: Gymnasium's, told in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gymnasium import spaces
from gymnasium.envs.toy_text.utils import categorical_sample

from textgym.arrays import Array, FloatArray, IntArray
from textgym.control.rules import Control, Moved, Rngs, was_paid
from textgym.errors import require_flag
from textgym.scenes.grids import frozen_lake as lake_and_scene
from textgym.scenes.scene import Table


@dataclass(frozen=True)
class TablePhysics:
    """A table of Gymnasium's, `env.P`, over rows.

    Args:
        table: state -> action -> (probability, next state, reward, terminated).
        first: the probability of each first state.
    """

    table: Table
    first: tuple[float, ...]

    @cached_property
    def _arrays(self) -> tuple[FloatArray, IntArray, FloatArray, Array]:
        """Cumulated probabilities, next states, rewards and ends, each `(states, actions, outcomes)`."""
        most = max(len(outcomes) for of_state in self.table.values() for outcomes in of_state.values())
        shape = len(self.table), len(self.table[0]), most
        chance, after, paid = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape)
        ends = np.zeros(shape, np.bool_)
        for s, of_state in self.table.items():
            for a, outcomes in of_state.items():
                for k, (p, *rest) in enumerate(outcomes):
                    chance[s, a, k] = p
                    after[s, a, k], paid[s, a, k], ends[s, a, k] = rest
        return chance.cumsum(axis=2), after, paid, ends

    def begin(self, rng: np.random.Generator) -> FloatArray:
        """Draw the first state as Gymnasium does, `(1,)`."""
        return np.array([categorical_sample(self.first, rng)], np.float64)

    def step(self, states: FloatArray, actions: IntArray, rngs: Rngs) -> Moved:
        """Return new states `(n, 1)`, rewards and ends, drawn as `categorical_sample` of Gymnasium draws."""
        chance, after, paid, ends = self._arrays
        s = states[:, 0].astype(np.int64)
        drawn = np.array([rng.random() for rng in rngs])
        places = s, actions, np.argmax(chance[s, actions] > drawn[:, None], axis=1)
        return after[places][:, None].astype(np.float64), paid[places], ends[places]

    def observe(self, states: FloatArray) -> Array:
        """Return states as Gymnasium shows them, `(n,)` int64."""
        return states[:, 0].astype(np.int64)


def frozen_lake(map_name: str = "4x4", slippery: bool = True, max_steps: int | None = None) -> Control:
    """Cross a frozen lake to the goal without falling into a hole, told in words.

    ## Description
    Gymnasium's FrozenLake-v1, whose state is told in words: row and column. On slippery ice two steps of three go
    aside. With a seed, states, rewards and ends are those of `gymnasium.make("FrozenLake-v1", map_name=...)` exactly.
    It is small enough to be solved: that potential-based guidance leaves its optimal policy as it is can be computed.

    ## Actions
    `Discrete(4)`: go left, down, right, up.

    ## Observation
    Two tokens, row and column: `Box(0, 8, (2,), int32)` on the map of 4x4; or the state, or both.

    ## Reward
    1 at the goal; what guidance pays comes on top, `info["true_reward"]` is without it.

    ## Episode end
    Termination: the goal, which is success, or a hole. Truncation: `max_steps` steps.

    ## Arguments
    `map_name`: "4x4" or "8x8". `slippery`: whether steps may go aside. `max_steps`: after which an episode is
    truncated; 100 on the small map, 200 on the large one, if it is not given.

    ## Version history
    v0: initial version.
    """
    require_flag(slippery=slippery)
    lake, scene = lake_and_scene(map_name, slippery)
    physics = TablePhysics(lake.P, tuple(lake.initial_state_distrib.tolist()))
    steps = (100 if map_name == "4x4" else 200) if max_steps is None else max_steps
    return Control(physics, scene, spaces.Discrete(lake.nrow * lake.ncol), 4, steps, was_paid)
