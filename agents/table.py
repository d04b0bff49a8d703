"""The table of agents, and what an agent is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from textgym.errors import InvalidSetting, Names

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Agent(Protocol):
    """What an agent can do: SB3's `learn` and `predict`. To be saved, also `state_dict` and `load_state_dict`."""

    def learn(self, total_timesteps: int, callback: Any = None, *, progress_bar: bool = False) -> Any:
        """Learn from this many environment steps, rows counted one by one."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Return actions `(n,)` for observations `(n, width)`, and the state, None here."""


AGENTS: Names[str] = Names(
    "agent",
    **{
        "ppo": "agents.ppo:make",
        "q-learning": "agents.tabular:make",
    },
)


def load_agent(name: str) -> Callable[..., Agent]:
    """Return an agent's `make(env, **overrides)`.

    Args:
        name: a name in AGENTS, or `"package.module:make"` for an agent of the user's own.

    Raises:
        UnknownName: no such agent; the message suggests the nearest one.
        InvalidSetting: no such module or function.
        ImportError: the agent needs a package that is not installed.
    """
    module, _, function = (name if ":" in name else AGENTS[name]).partition(":")
    try:
        found: Callable[..., Agent] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        if name in AGENTS:
            raise ImportError(f'agent {name!r} could not be loaded: {error}. pip install "textgym[agents]"') from error
        raise InvalidSetting(
            f"no agent at {name!r}: {error}. Write 'package.module:make', importable from here."
        ) from error
    return found


def make(name: str, env: Any, **overrides: Any) -> Agent:
    """Return a fresh agent for an environment.

    Args:
        name: a name in AGENTS, or `"package.module:make"`.
        env: a vectorised environment, as `make_vec_env` makes them.
        overrides: settings over the agent's defaults.
    """
    return load_agent(name)(env, **overrides)
