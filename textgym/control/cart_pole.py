"""CartPole: Gymnasium's, told in words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv

from textgym.arrays import Array, FloatArray, IntArray
from textgym.control.rules import Control, Moved, Rngs, stayed_up
from textgym.scenes.cart_pole import SCENE


@dataclass(frozen=True)
class CartPolePhysics:
    """The equations of Gymnasium's `CartPoleVectorEnv`, and nothing else of it.

    Its `step` computes to the bit what `CartPoleEnv` does, over rows. Its resets do not: it draws all rows from one
    generator, so that a row's episodes depend on the others', knows one auto-reset mode alone and no `reset_mask`, and
    its rewards are float32. So the single class is the one that is right, and begins the episodes here; of the batched
    one only the equations are used: it never sees an episode end.
    """

    _rows: dict[int, CartPoleVectorEnv] = field(default_factory=dict, repr=False, compare=False)

    def begin(self, rng: np.random.Generator) -> FloatArray:
        """Draw the four numbers as `CartPoleEnv.reset` does."""
        return rng.uniform(low=-0.05, high=0.05, size=(4,))

    def step(self, states: FloatArray, actions: IntArray, rngs: Rngs) -> Moved:
        """Return new states `(n, 4)`, 1 for each step, and whether cart or pole has left its range."""
        n = len(states)
        if n not in self._rows:
            self._rows[n] = CartPoleVectorEnv(n, max_episode_steps=2**31 - 1)
            self._rows[n].reset(seed=0)
        rows = self._rows[n]
        rows.state, rows.steps[:] = states.T, 0  # type: ignore[assignment]
        rows.prev_done[:] = False
        _, rewards, terminated, _, _ = rows.step(actions)
        moved: FloatArray = np.asarray(rows.state).T.copy()
        return moved, rewards.astype(np.float64), terminated.copy()

    def observe(self, states: FloatArray) -> Array:
        """Return states as float32, as Gymnasium shows them."""
        return states.astype(np.float32)


def cart_pole(max_steps: int = 500) -> Control:
    """Balance a pole on a cart, told in words.

    ## Description
    Gymnasium's CartPole-v1, whose state is told in words: the cart's place and speed, the pole's angle and how fast it
    turns. With a seed, states, rewards and ends are those of `gymnasium.make("CartPole-v1")` to the bit, so that 475
    means what it means there.

    ## Actions
    `Discrete(2)`: push left, push right.

    ## Observation
    Four tokens, one a number, each number in 32 bins: `Box(0, 128, (4,), int32)`; or the state, or both.

    ## Reward
    1 for each step; what guidance pays comes on top, `info["true_reward"]` is without it.

    ## Episode end
    Termination: the cart is more than 2.4 from the middle, or the pole more than 12 degrees from upright. Truncation:
    `max_steps` steps. Success is to be truncated alone.

    ## Arguments
    `max_steps`: after which an episode is truncated.

    ## Version history
    v0: initial version.
    """
    space = CartPoleEnv().observation_space
    return Control(CartPolePhysics(), SCENE, space, 2, max_steps, stayed_up)
