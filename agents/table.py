"""The table of agents, and what an agent is."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from textgym.errors import InvalidSetting, Names, unknown

from .layers import nested

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .config import Start

ENTRY_POINTS = "textgym.agents"

RUNTIME = ("seed", "device", "verbose", "tensorboard_log")
"""Arguments that an agent may take besides its settings; they belong to a run, not to what is learned."""


@dataclass(frozen=True)
class Made:
    """What an agent was made from; `save` writes it down."""

    agent: str  # a name in AGENTS or of an installed package, or "package.module:make"
    settings: dict[str, Any]  # resolved: plain data
    seed: int | None
    init: Start | None = None  # what `initialise` gave it
    pretraining: dict[str, Any] | None = None  # what `pretrain` did to it


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
        "q-learning": "agents.tabular.q_learning:make",
        "sarsa": "agents.tabular.sarsa:make",
        "expected-sarsa": "agents.tabular.expected_sarsa:make",
        "tabular-reinforce": "agents.tabular.reinforce:make",
        "tabular-actor-critic": "agents.tabular.actor_critic:make",
        "dqn": "agents.dqn:make",
        "a2c": "agents.a2c:make",
        "ppo": "agents.ppo:make",
        "reinforce": "agents.reinforce:make",
        "rloo": "agents.rloo:make",
        "grpo": "agents.grpo:make",
    },
)


def load_agent(name: str) -> Callable[..., Agent]:
    """Return an agent's `make(env, **overrides)`.

    Args:
        name: a name in AGENTS; a name that an installed package gives to the entry-point group `textgym.agents`; or
            `"package.module:make"` for an agent of the user's own.

    Raises:
        UnknownName: no such agent; the message suggests the nearest one.
        InvalidSetting: no such module or function.
        ImportError: the agent needs a package that is not installed.
    """
    installed = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}
    if ":" not in name and name not in AGENTS and name not in installed:
        raise unknown("agent", name, [*AGENTS, *installed])
    place = name if ":" in name else AGENTS.get(name) or installed[name]
    module, _, function = place.partition(":")
    try:
        found: Callable[..., Agent] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: no module before the colon
        if name in AGENTS:
            raise ImportError(f'agent {name!r} could not be loaded: {error}. pip install "textgym[agents]"') from error
        raise InvalidSetting(
            f"no agent at {place!r}: {error}. Write 'package.module:make', importable from here."
        ) from error
    if not callable(found):
        raise InvalidSetting(f"{place!r} is {found!r}, which cannot be called. Write make(env, **overrides) there.")
    return found


def make(name: str, env: Any, *, init: Any = None, **overrides: Any) -> Any:
    """Return a fresh agent for an environment.

    Args:
        name: as `load_agent` takes it.
        env: a vectorised environment, as `make_vec_env` makes them.
        init: a run's folder, of `textgym pretrain` or `textgym train`, whose policy the agent begins with, as
            `initialise` has it; the transformer's sizes, where they are left open, are that run's.
        overrides: settings over the agent's defaults, by the names that `textgym train --agent NAME --explain` lists;
            names with dots, as in `{"policy.d_model": 128}`, reach inside; `seed` and `device` besides.

    Raises:
        InvalidSetting: a setting is refused; or what an agent of the user's own returned cannot learn or predict.
        UnknownName: there is no such agent or setting.
    """
    builder, overrides = load_agent(name), nested(overrides)
    if init is not None:
        from .initialising import initialise, sized

        overrides = sized(builder, init, overrides)
    agent: Any = builder(env, **overrides)
    for method in ("learn", "predict"):
        if not callable(getattr(agent, method, None)):
            raise InvalidSetting(
                f"agent {name!r} made {agent!r}, which has no method `{method}`. An agent has SB3's "
                "learn(total_timesteps) and predict(observation)."
            )
    if getattr(agent, "made", None) is None or agent.made.agent != name:
        own = {key: value for key, value in overrides.items() if key not in RUNTIME}
        with contextlib.suppress(AttributeError):  # an agent with __slots__ cannot say it; `save` then refuses it
            agent.made = Made(name, own, overrides.get("seed"))
    return agent if init is None else initialise(agent, init)
