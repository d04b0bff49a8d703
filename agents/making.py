"""make_vec_env: from an id to rows of an environment that an SB3 agent can learn on."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from textgym import Task, TextGenVectorEnv, control_ids, env_ids, load_control, load_task
from textgym.errors import require_positive

from .vec_env import Origin, SB3VecEnv


def make_vec_env(id_or_task: str | Task, n_envs: int = 1, seed: int | None = None, **task_kwargs: Any) -> SB3VecEnv:
    """Return n rows of an environment for an SB3 agent, episode statistics included.

    Args:
        id_or_task: a registered id, TextGym's or any other of Gymnasium's, or a `Task`.
        n_envs: rows.
        seed: row i begins with `seed + i` at the first reset; None for chance.
        task_kwargs: arguments of the environment.

    Raises:
        InvalidSize: `n_envs` is no positive integer.
        gymnasium.error.NameNotFound: no such id.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", make_vec_env("TextGen-v0", 8, seed=0))
    """
    require_positive(n_envs=n_envs)
    env: VectorEnv[Any, Any, Any]
    if not isinstance(id_or_task, str):
        env = TextGenVectorEnv(id_or_task, n_envs, AutoresetMode.SAME_STEP, **task_kwargs)
    elif _is_ours(id_or_task):
        load = load_control if id_or_task.rpartition(":")[2] in control_ids() else load_task  # refuses what is mistyped
        load(id_or_task, **{key: value for key, value in task_kwargs.items() if key != "render_mode"})
        kwargs = {**task_kwargs, "autoreset_mode": AutoresetMode.SAME_STEP}
        env = gymnasium.make_vec(id_or_task, n_envs, vectorization_mode="vector_entry_point", **kwargs)
    else:
        sync = {"autoreset_mode": AutoresetMode.SAME_STEP}
        env = gymnasium.make_vec(id_or_task, n_envs, "sync", vector_kwargs=sync, **task_kwargs)
    vec_env = SB3VecEnv(env)
    if isinstance(id_or_task, str):
        vec_env.origin = Origin(id_or_task.rpartition(":")[2], dict(task_kwargs))
    if seed is not None:
        vec_env.seed(seed)
    return vec_env


def _is_ours(id: str) -> bool:
    module, _, name = id.rpartition(":")
    if module:
        importlib.import_module(module)
    return name in env_ids()
