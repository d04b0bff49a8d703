"""MountainCar: Gymnasium's, told in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv

from textgym.arrays import Array, FloatArray, IntArray
from textgym.control.rules import Control, Moved, Rngs, arrived
from textgym.scenes.mountain_car import SCENE


@dataclass(frozen=True)
class MountainCarPhysics:
    """The equations of Gymnasium's `MountainCarEnv` over rows, with its constants: Gymnasium has no batched class.

    They agree with its `step` to the bit: the cosine is `math.cos` here too, for NumPy's may differ in the last place.
    """

    car: MountainCarEnv = field(default_factory=MountainCarEnv, repr=False, compare=False)

    def begin(self, rng: np.random.Generator) -> FloatArray:
        """Draw a place near the bottom as `MountainCarEnv.reset` does; the car is at rest."""
        return np.array([rng.uniform(low=-0.6, high=-0.4), 0])

    def step(self, states: FloatArray, actions: IntArray, rngs: Rngs) -> Moved:
        """Return new states `(n, 2)`, -1 for each step, and whether the car is at the flag."""
        car, (position, velocity) = self.car, states.T
        slope = np.array([math.cos(3 * x) for x in position.tolist()])
        velocity = velocity + ((actions - 1) * car.force + slope * (-car.gravity))
        velocity = np.clip(velocity, -car.max_speed, car.max_speed)
        position = np.clip(position + velocity, car.min_position, car.max_position)
        velocity = np.where((position == car.min_position) & (velocity < 0), 0.0, velocity)
        terminated = (position >= car.goal_position) & (velocity >= car.goal_velocity)
        return np.stack([position, velocity], axis=1), np.full(len(states), -1.0), terminated

    def observe(self, states: FloatArray) -> Array:
        """Return states as float32, as Gymnasium shows them."""
        return states.astype(np.float32)


def mountain_car(max_steps: int = 200) -> Control:
    """Swing a weak car out of a valley, told in words.

    ## Description
    Gymnasium's MountainCar-v0, whose state is told in words: where the car is and how it rolls. With a seed, states,
    rewards and ends are those of `gymnasium.make("MountainCar-v0")` to the bit. Whoever has not reached the flag yet
    learns nothing from the reward, which is what guidance may help with.

    ## Actions
    `Discrete(3)`: push left, coast, push right.

    ## Observation
    Two tokens, one a number, each number in 32 bins: `Box(0, 64, (2,), int32)`; or the state, or both.

    ## Reward
    -1 for each step; what guidance pays comes on top, `info["true_reward"]` is without it.

    ## Episode end
    Termination: the car is at the flag, which is success. Truncation: `max_steps` steps.

    ## Arguments
    `max_steps`: after which an episode is truncated.

    ## Version history
    v0: initial version.
    """
    physics = MountainCarPhysics()
    return Control(physics, SCENE, physics.car.observation_space, 3, max_steps, arrived)
