"""References: what a policy is kept near to, frozen, and read as the policy is: over whole episodes, within masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from textgym import Task
from textgym.errors import InvalidSetting

from .categorical import log_probabilities
from .fitting import require_held
from .lora import switch_off_idle
from .making import make_vec_env
from .policies import CachedTransformerPolicy, PrefixPolicy
from .prefixes import Prefixes
from .sampling import Sampling
from .sb3_state import get_global_chance, set_global_chance
from .settings import CausalLMSettings, TransformerSettings
from .sharing import share
from .state import parameters, set_parameters

START, UNIFORM = "start", "uniform"


class Reference(Protocol):
    """A policy that never changes. No gradient flows through it."""

    def chosen(self, prefixes: Prefixes, actions: Tensor) -> Tensor:
        """Return the log-probabilities `(N,)` of actions `(N,)`."""

    def every(self, prefixes: Prefixes) -> Tensor:
        """Return the log-probabilities of all actions, `(N, size)`."""


class Uniform:
    """Writing at random: each action that the mask leaves is as likely as any other.

    Args:
        size: the actions.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def chosen(self, prefixes: Prefixes, actions: Tensor) -> Tensor:
        """Return the log-probabilities `(N,)` of actions `(N,)`."""
        return self.every(prefixes).gather(1, actions.long()[:, None])[:, 0]

    def every(self, prefixes: Prefixes) -> Tensor:
        """Return the log-probabilities of all actions, `(N, size)`."""
        level = torch.zeros(len(prefixes.segment), self.size, device=prefixes.segment.device)
        return log_probabilities(level, prefixes.masks)


class Frozen:
    """A policy that was copied and does not learn.

    Its temperature stays. It is read within what was drawn from, masks and cut, and makes no cut of its own: where it
    gave what another policy writes no probability, the divergence would be infinite.

    Args:
        policy: it is kept, not copied: see `twin`.
    """

    def __init__(self, policy: ActorCriticPolicy) -> None:
        self.policy: Any = policy
        if isinstance(policy, PrefixPolicy):
            policy.sampling = Sampling(policy.sampling.temperature)
        policy.requires_grad_(False)
        switch_off_idle(policy)
        policy.set_training_mode(False)
        policy.optimizer = None  # type: ignore[assignment]

    @torch.no_grad()
    def chosen(self, prefixes: Prefixes, actions: Tensor) -> Tensor:
        """Return the log-probabilities `(N,)` of actions `(N,)`."""
        found: Tensor = self.policy.evaluate_actions(prefixes, actions)[1]
        return found

    @torch.no_grad()
    def every(self, prefixes: Prefixes) -> Tensor:
        """Return the log-probabilities of all actions, `(N, size)`."""
        found: Tensor = self.policy.read(prefixes)[1]
        return found

    def get_state(self) -> dict[str, Any]:
        """Return its sizes and parameters."""
        own = {name: tensor.detach().clone() for name, tensor in parameters(self.policy).items()}
        return {"sizes": self.policy.sizes, "parameters": own}


def twin(policy: ActorCriticPolicy, sizes: Mapping[str, Any] | None = None) -> ActorCriticPolicy:
    """Return a policy like another in its spaces, on its device, to be given parameters; chance is not touched.

    A language model's shares with it what learns in neither.

    Args:
        policy: like which.
        sizes: its network's, as `PrefixPolicy.sizes` has them, instead of the other's; a language model's or not.
    """
    copy: ActorCriticPolicy | None = getattr(policy, "twin", lambda sizes: None)(sizes)
    if copy is not None:
        return copy
    arguments, kind = policy._get_constructor_parameters(), type(policy)
    if "candidates" in arguments:  # it is read within what was drawn from
        arguments["candidates"] = None
    if sizes is not None:
        spaces = {name: arguments[name] for name in ("observation_space", "action_space", "lr_schedule")}
        if "model" in sizes:
            from .causal_lm import CausalLMPolicy

            kind, arguments = CausalLMPolicy, {**spaces, **sizes}
        else:
            kind, arguments = CachedTransformerPolicy, {**spaces, "features_extractor_kwargs": dict(sizes)}
    with torch.random.fork_rng(devices=[]):
        made = kind(**arguments).to(policy.device)
    share(made, policy)
    return made


def find_reference(name: str, agent: Any) -> Reference:
    """Return the reference that is meant.

    Args:
        name: "start", what the agent's policy is now; "uniform"; or the folder of a run.
        agent: whose policy is to be kept near it.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: the run is of another vocabulary, or of an agent without probabilities.
    """
    if name == UNIFORM:
        return Uniform(int(agent.action_space.n))
    if name == START:
        copy = twin(agent.policy)
        kept = copy.state_dict().keys()
        copy.load_state_dict({name: value for name, value in agent.policy.state_dict().items() if name in kept})
        return Frozen(copy)
    return Frozen(_policy_of_run(Path(name), agent))


def _policy_of_run(folder: Path, agent: Any) -> ActorCriticPolicy:
    from .runs import read_run, restore  # it imports what saves a reference

    run, env = read_run(folder), agent.get_env()
    if run.config.quantisation is not None:
        raise InvalidSetting(f"{folder} is quantised, and only near to itself. Give the run that it was made of.")
    task = env.get_attr("task", 0)[0] if env.has_attr("task") else None
    rows = make_vec_env(task, run.config.n_envs) if isinstance(task, Task) else None  # of one's own: it is seeded
    chance = get_global_chance()
    try:
        policy = getattr(restore(run, rows, device=str(agent.device))[0], "policy", None)
    finally:
        set_global_chance(chance)
    if not isinstance(policy, ActorCriticPolicy):
        raise InvalidSetting(
            f"{folder} was trained by {run.config.agent}, which has no probabilities to stay near to. Give a run of "
            "ppo, a2c, reinforce, rloo or grpo."
        )
    share(policy, agent.policy)
    return policy


def restored_reference(state: Mapping[str, Any], policy: ActorCriticPolicy) -> Frozen:
    """Return what `Frozen.get_state` was taken of, for a policy to stay near to.

    Raises:
        InvalidSetting, KeyError, TypeError, AttributeError: it is no such state.
    """
    kind = CausalLMSettings if "model" in state["sizes"] else TransformerSettings
    sizes = kind.read(state["sizes"], "the reference").model_dump()
    arrays = {str(name): tensor.numpy() for name, tensor in state["parameters"].items()}
    require_held(sizes, policy.observation_space, sum(array.size for array in arrays.values()), "the reference")
    copy = twin(policy, sizes)
    set_parameters(copy, arrays)
    return Frozen(copy)
