"""What a policy is compared with when somebody looks at it: its reference, or what it was when learning began."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from textgym import Task
from textgym.errors import InvalidSetting

from .folder import holds_run
from .making import make_vec_env
from .probabilities import network_of
from .reference import START, UNIFORM, Frozen
from .runs import read_run, restore
from .sb3_state import get_global_chance, set_global_chance
from .state import base_model_of, env_of
from .table import AGENTS, Made, make


class Compared(NamedTuple):
    """What an agent is compared with."""

    name: str  # 'start', 'uniform', or a run's folder
    agent: Any  # an agent or a policy; None for uniform writing


def compared(agent: Any, task: Task, name: str | Path | None) -> Compared:
    """Return what an agent is compared with.

    Args:
        agent: which says how likely its actions are.
        task: what it writes.
        name: 'start', 'uniform', or a run's folder; None for the reference that its learning is kept near to, and for
            the start where there is none.

    Raises:
        InvalidSetting: the start is not known; there is no run in that folder, or one of another vocabulary, or of an
            agent without probabilities.
    """
    control: Any = getattr(agent, "kl_control", None)
    if name is None:
        name = START if control is None else control.name
    if not isinstance(name, (str, Path)) or not str(name):
        raise InvalidSetting(f"reference={name!r} is no name. Give 'start', 'uniform' or the folder of a run.")
    if str(name) == UNIFORM:
        return Compared(UNIFORM, None)
    kept = getattr(control, "reference", None)
    if isinstance(kept, Frozen) and str(name) == str(control.name):
        return Compared(str(name), kept.policy)
    if str(name) == START:
        return Compared(START, beginning(agent, task))
    return Compared(str(name), _of_run(Path(name), agent, task))


def beginning(agent: Any, task: Task) -> Any:
    """Return an agent as it was before it learned: made again, by the same settings and seed.

    Args:
        agent: what `agents.make` made; in a run, the run's.
        task: what it writes.

    Raises:
        InvalidSetting: it cannot be known.
    """
    if not getattr(agent, "num_timesteps", 0):
        return agent
    made: Made | None = getattr(agent, "made", None)
    if made is None or made.agent not in AGENTS:
        raise _unknown("it was not made by agents.make under one of TextGym's names")
    if made.seed is None:
        raise _unknown("it was made without a seed")
    if made.pretraining is not None:
        raise _unknown("it was fitted to text before, and those parameters are kept nowhere else")
    chance, n = get_global_chance(), getattr(env_of(agent), "num_envs", 1)
    try:
        device = str(getattr(agent, "device", "cpu"))
        twin = make(made.agent, make_vec_env(task, n), init=made.init, seed=made.seed, device=device, **made.settings)
    except (OSError, ValueError) as error:
        raise _unknown(f"what it began with is not there any more: {error}") from error
    finally:
        set_global_chance(chance)
    if getattr(base_model_of(twin), "sha256", None) != getattr(base_model_of(agent), "sha256", None):
        raise _unknown("the model that it began with has been replaced")
    return twin


def says_probabilities(agent: Any) -> bool:
    """Return whether an agent says how likely its actions are, and does not act by what they are worth."""
    if hasattr(agent, "action_values"):
        return False
    network = network_of(agent)
    return hasattr(agent, "action_probabilities") or (network is not None and not hasattr(network, "q_net"))


def _unknown(why: str) -> InvalidSetting:
    return InvalidSetting(
        f"the start of this agent is not known: {why}. Name another reference: 'uniform', or the folder of a run."
    )


def _of_run(folder: Path, agent: Any, task: Task) -> Any:
    if not holds_run(folder):
        raise InvalidSetting(
            f"reference={str(folder)!r} is neither 'start' nor 'uniform', and no run is in a folder of that name."
        )
    run, chance = read_run(folder), get_global_chance()
    try:  # rows of one's own: they are seeded
        found = restore(run, make_vec_env(task, run.config.n_envs), device=str(getattr(agent, "device", "cpu")))[0]
    finally:
        set_global_chance(chance)
    if not says_probabilities(found):
        raise InvalidSetting(
            f"reference={str(folder)!r} was trained by {run.config.agent}, which has no probabilities to compare with. "
            "Give a run of ppo, a2c, reinforce, rloo, grpo or a tabular softmax policy."
        )
    return found
