"""What language knows of Gymnasium's environments, by the names that these have in their ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymnasium.envs.registration import EnvSpec

from textgym.errors import Names
from textgym.scenes import cart_pole, lunar_lander, mountain_car, swings
from textgym.scenes.grids import lake_scene, taxi
from textgym.scenes.scene import Scene

SCENES: Names[Callable[[Any], Scene]] = Names(
    "environment that language is known for",
    CartPole=lambda env: cart_pole.SCENE,
    MountainCar=lambda env: mountain_car.SCENE,
    Acrobot=lambda env: swings.ACROBOT,
    Pendulum=lambda env: swings.PENDULUM,
    FrozenLake=lambda env: lake_scene(env),
    FrozenLake8x8=lambda env: lake_scene(env),
    Taxi=lambda env: taxi(),
    LunarLander=lambda env: lunar_lander.SCENE,
)
"""From an environment, unwrapped, to its scene."""


def scene_of(spec: EnvSpec | None, env: Any) -> Scene | None:
    """Return the scene of an environment; None where language knows none of that name.

    Args:
        spec: what Gymnasium has registered it as.
        env: the environment, unwrapped.
    """
    own = getattr(getattr(env, "control", None), "scene", None)  # of one of TextGym's own
    if isinstance(own, Scene):
        return own
    known = spec is not None and spec.namespace is None and spec.name in SCENES
    return SCENES[spec.name](env) if known and spec is not None else None


__all__ = ["SCENES", "Scene", "scene_of"]
