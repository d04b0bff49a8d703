"""What agents are worth, exactly: over all texts that they may write, and with the exact policy gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import textgym
from textgym import Prompt, Task
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidSetting, is_finite, require_positive, require_share
from textgym.evaluating import Evaluation
from textgym.following import Step, follow
from textgym.frontier import paid_on_average
from textgym.policies import Policy, within
from textgym.solving import LIMIT, resolved, support

from .categorical import log_probabilities
from .probabilities import AgentPolicy, network_of, scores_of
from .runs import read_run, restore
from .sb3_state import get_global_chance, set_global_chance
from .state import task_of

AnyTask = Task | Callable[..., Task] | str


def evaluate(
    agent: Any,
    task: AnyTask | None = None,
    gamma: float = 1.0,
    *,
    deterministic: bool = False,
    reference: Any = None,
    prompts: Sequence[Prompt] | None = None,
    tolerance: float = 0.0,
    limit: int = LIMIT,
    **task_kwargs: Any,
) -> Evaluation:
    """Return what an agent is worth, over all prompts and all texts that it may write, without sampling.

    Args:
        agent: what `AgentPolicy` takes, or the folder of a run.
        task: a registered id, a Task or its factory; None for what the agent was trained on, unscaled.
        gamma: the discount.
        deterministic: take the likeliest action, as `predict(deterministic=True)` does.
        reference: another agent or the folder of its run, or a policy of `textgym.evaluate`, for `Evaluation.kl`.
        prompts: what to expect over, each equally likely; None for all that the generator can draw.
        tolerance: the probability of texts that may be left.
        limit: the most texts times actions that are followed at once.
        task_kwargs: arguments of the factory.

    Raises:
        InvalidSetting: no task is known, its prompts cannot be listed, or the agent does not say how likely its actions
            are; a run's own agent must be loaded by `agents.load(folder, agent=...)` first.

    Example:
        >>> from agents import evaluate, make, make_vec_env
        >>> agent = make("q-learning", make_vec_env("TextGen-v0", 8), seed=0).learn(2_000)
        >>> evaluate(agent, deterministic=True).expected_return
        3.0
    """
    agent = _read(agent)
    policy, other = AgentPolicy(agent, deterministic), _policy_of(_read(reference))
    found = _task_of(agent) if task is None else task
    return textgym.evaluate(
        found, policy, gamma, reference=other, prompts=prompts, tolerance=tolerance, limit=limit, **task_kwargs
    )


def expected_return(
    policy: Any,
    task: AnyTask,
    gamma: float = 1.0,
    *,
    reference: Any = None,
    kl_coefficient: float = 0.0,
    prompts: Sequence[Prompt] | None = None,
    limit: int = LIMIT,
    **task_kwargs: Any,
) -> Tensor:
    """Return J(theta), the expected discounted return of a torch policy, differentiable: `J.backward()` is exact.

    J = sum over all texts of pi_theta(text) R(text); its gradient is the one that REINFORCE and its like estimate
    (Sutton & Barto, 2018, section 13.2). With `kl_coefficient`, beta, each step also pays
    -beta log(pi(a|s) / pi_ref(a|s)), so that J is the objective of KL-regularised learning.

    Args:
        policy: a policy of SB3, a model that has one, or a torch module from token ids `(n, width)` int64 to logits
            `(n, size)`. It is read in the mode that it is in.
        task: a registered id, a Task or its factory.
        gamma: the discount, of rewards and of the divergence.
        reference: another agent, or observations `(n, width)` to probabilities `(n, size)`; None for uniform writing.
            No gradient flows through it.
        kl_coefficient: beta, at least 0.
        prompts: what to expect over, each equally likely; None for all that the generator can draw.
        limit: the most texts times actions that are followed at once; a graph of all of them is kept.
        task_kwargs: arguments of the factory.

    Returns:
        A scalar, float64.

    Raises:
        InvalidSetting: there are more texts than that: `bounds` follows the likeliest.
    """
    lower, upper = bounds(
        policy,
        task,
        gamma,
        reference=reference,
        kl_coefficient=kl_coefficient,
        prompts=prompts,
        limit=limit,
        **task_kwargs,
    )
    if lower is not upper:
        raise InvalidSetting(
            f"the policy may write more texts than limit={limit:,} allows to follow at once. Give fewer prompts, a "
            "shorter horizon, a higher limit; or agents.exact.bounds(...), which follows the likeliest."
        )
    return lower


def bounds(
    policy: Any,
    task: AnyTask,
    gamma: float = 1.0,
    *,
    reference: Any = None,
    kl_coefficient: float = 0.0,
    prompts: Sequence[Prompt] | None = None,
    tolerance: float = 0.0,
    limit: int = LIMIT,
    **task_kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Return a lower and an upper bound of J(theta), differentiable, one and the same tensor where all was followed.

    Texts are followed likeliest first, as `textgym.evaluate` does; what is left, of probability `tolerance` at most,
    counts from the worst to the best return that can still come of it, and its divergence not at all.

    Args and Raises: as for `expected_return`, and `tolerance`.
    """
    require_share(gamma=gamma, tolerance=tolerance)
    require_positive(limit=limit)
    if not is_finite(kl_coefficient) or kl_coefficient < 0:
        raise InvalidSetting(f"kl_coefficient={kl_coefficient!r} is no number of at least 0.")
    near = _policy_of(reference)
    network = network_of(policy)
    if network is None or hasattr(network, "q_net"):
        raise InvalidSetting(
            f"{type(policy).__name__} is no torch policy with probabilities that a gradient flows through. Give an "
            "actor-critic policy of SB3, or a module from token ids (n, width) to logits (n, size)."
        )
    task = paid_on_average(resolved(task, **task_kwargs))
    drawn, probabilities = support(task, prompts)
    recorded, mass = Recorded(network), torch.as_tensor(probabilities)
    followed, worst, best = (torch.zeros((), dtype=torch.float64) for _ in range(3))
    left = False
    for step in follow(task, recorded, gamma, (drawn, probabilities), tolerance, limit):
        mass, followed, worst, best = (tensor.to(recorded.device) for tensor in (mass, followed, worst, best))
        discount, gone, mass = gamma**step.depth, mass[step.gone], mass[step.kept]
        if len(step.gone):
            left = True
            worst = worst + discount * (gone @ _like(gone, step.worst))
            best = best + discount * (gone @ _like(gone, step.best))
        if not len(mass):
            break
        chosen = recorded.latest[step.rows, step.actions]  # (m,) log-probabilities
        flow = mass[step.rows] * chosen.exp()
        paid = _like(flow, step.rewards)
        if kl_coefficient:
            paid = paid - kl_coefficient * (chosen - _like(flow, _reference(near, step)))
        followed = followed + discount * (flow @ paid)
        mass = flow[step.going]
    return (followed + worst, followed + best) if left else (followed, followed)


class Recorded:
    """A torch policy that keeps the log-probabilities which it gave last, with their graph."""

    takes_masks = True

    def __init__(self, network: Any) -> None:
        self.network = network
        self.latest = torch.zeros(0)
        self.device = torch.device("cpu")

    def __call__(self, observations: IntArray, action_masks: BoolArray) -> FloatArray:
        """Return probabilities `(n, size)`, and keep their logarithms as `latest`."""
        self.latest = log_probabilities(scores_of(self.network, observations, action_masks).double())
        self.device = self.latest.device
        found: FloatArray = self.latest.detach().exp().cpu().numpy()
        return found


def _reference(reference: Policy | None, step: Step) -> FloatArray:
    """Return the reference's log-probabilities of the tokens that were added, `(m,)`."""
    p = within(reference, step.texts.tokens, step.allowed)[step.rows, step.actions]
    if not p.all():
        raise InvalidSetting("the policy does what its reference never does: the divergence is infinite.")
    logs: FloatArray = np.log(p)
    return logs


def _like(tensor: Tensor, array: FloatArray) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float64, device=tensor.device)


def _read(given: Any) -> Any:
    """Return the agent of a run's folder, with Python's, NumPy's and torch's chance as it was; others as given."""
    if not isinstance(given, (str, Path)):
        return given
    chance = get_global_chance()
    try:
        return restore(read_run(Path(given)))[0]
    finally:
        set_global_chance(chance)


def _policy_of(given: Any) -> Policy | None:
    """Return an agent as a policy of `textgym.evaluate`; what is one already, a function or None, as given."""
    plain = callable(given) and not hasattr(given, "predict") and not isinstance(given, torch.nn.Module)
    return given if given is None or plain else AgentPolicy(given)


def _task_of(agent: Any) -> Task:
    task = task_of(agent)
    if task is None:
        raise InvalidSetting(
            f"{type(agent).__name__} keeps no environment of TextGym's. Say what it is to write: evaluate(agent, "
            '"TextGen-v0").'
        )
    return task
