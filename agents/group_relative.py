"""What GRPO and RLOO share: advantages from the other completions of a prompt, and a clipped step on them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from textgym.arrays import BoolArray, FloatArray
from textgym.errors import InvalidSetting

from .accumulating import parts
from .deep import OWN, discount, on_policy_arguments, step_size
from .flat_adam import clipped_step
from .groups import GroupCollecting, GroupRolloutBuffer, check_groups
from .guard import Guarded
from .missing import counts_nothing
from .probe import Probe
from .scaled import reward_scale
from .settings import Choice, ControlledSettings, Count, NotNegative, Positive
from .surrogate import Surrogate

Normalisation: TypeAlias = Literal["episode", "token", "none"]

FEW = 1e-4  # added to a deviation


class GroupSettings(ControlledSettings):
    """What agents have that compare completions of one prompt."""

    group_size: int = Field(8, ge=2, le=65_536, description="the completions of each prompt; n_envs is a multiple")
    episodes: Count = Field(4, description="the completions of each row in a rollout")
    batch_size: Count = Field(256, description="the transitions of a minibatch, whole completions each")
    n_epochs: Count = Field(1, description="how often an update reads the rollout")
    clip_range: Positive = Field(0.2, description="how far a ratio of probabilities may move in an update")
    ent_coef: NotNegative = Field(0.01, description="the entropy coefficient: what keeps the policy trying things")
    per_token: bool = Field(
        False, description="whether a token is weighed by what is earned from it on, not by the whole completion"
    )
    length_normalisation: Normalisation = Field(
        "none", description="what tokens are averaged over: each completion, all tokens, or none, for a sum"
    )


def advantages(
    onward: FloatArray,
    group_size: int,
    *,
    leave_one_out: bool,
    per_token: bool = False,
    normalise_std: bool = False,
    counted: BoolArray | None = None,
) -> FloatArray:
    """Return what completions earned beyond the others of their group, token by token.

    With R_i the return of completion i of g:

        leave one out:  A_i = R_i - sum_{j != i} R_j / (g - 1)      (Kool, van Hoof & Welling, 2019)
        mean:           A_i = R_i - sum_j R_j / g                   (Liu et al., 2025): (g - 1) / g times the above
        and deviation:  A_i = (R_i - sum_j R_j / g) / std(R)        (Shao et al., 2024, section 4.1.2)

    The first is unbiased: the others' returns do not depend on completion i. The deviation is that of the sample, with
    g - 1 in its denominator and 0.0001 added; prompts whose completions earn nearly the same then count as much as
    those where they differ (the difficulty bias of Liu et al., 2025, section 3.1).

    Per token, returns from a token on take the place of R, compared at the same place of each completion; one that has
    ended earns 0 there. This keeps what is said of bias; the deviation stays that of whole returns.

    Args:
        onward: `(C, T)` the return from each token on, 0 beyond a completion's end; groups stand together.
        group_size: g.
        leave_one_out: compare with the others alone.
        per_token: weigh each token by what came from it on.
        normalise_std: divide by the deviation.
        counted: `(C,)`, which completions there are: the g of a group is how many of it are counted, 0 or at least 2;
            None for all.

    Returns:
        `(C, T)`; what stands beyond a completion's end, or is not counted, means nothing.
    """
    grouped = onward.reshape(-1, group_size, onward.shape[1])  # (groups, g, T)
    there = np.ones((len(onward), 1), np.bool_) if counted is None else counted[:, None]
    there = there.reshape(-1, group_size, 1)
    size = np.maximum(there.sum(axis=1, keepdims=True), 2)  # (groups, 1, 1)
    earned = grouped if per_token else np.repeat(grouped[:, :, :1], onward.shape[1], axis=2)
    others = earned.sum(axis=1, keepdims=True, where=there) - (earned if leave_one_out else 0.0)
    found = earned - others / (size - 1 if leave_one_out else size)
    if normalise_std:
        first = grouped[:, :, :1]
        mean = first.sum(axis=1, keepdims=True, where=there) / size
        squares = ((first - mean) ** 2).sum(axis=1, keepdims=True, where=there)
        found = found / (np.sqrt(squares / (size - 1)) + FEW)
    shaped: FloatArray = found.reshape(onward.shape)
    return shaped


def returns_onward(rewards: FloatArray, gamma: float) -> FloatArray:
    """Return the discounted return from each token on, `(C, T)`, of rewards `(C, T)`."""
    onward = rewards.copy()
    for t in range(rewards.shape[1] - 2, -1, -1):
        onward[:, t] += gamma * onward[:, t + 1]
    return onward


def token_weights(segment: Tensor, completions: int, normalisation: Normalisation) -> Tensor:
    """Return what each token of a minibatch counts, `(N,)`.

    With C completions, of L_i tokens each: "none" 1 / C, the gradient of the expected return; "episode" 1 / (C L_i), by
    which long completions are punished less for failing (the length bias of Liu et al., 2025, section 3.1); "token"
    1 / sum_i L_i (Yu et al., 2025, arXiv:2503.14476, equation 8).

    Args:
        segment: `(N,)` which completion each token belongs to.
        completions: C.
        normalisation: which of them.
    """
    if normalisation == "token":
        return torch.full((len(segment),), 1 / len(segment), device=segment.device)
    if normalisation == "none":
        return torch.full((len(segment),), 1 / completions, device=segment.device)
    return 1 / (completions * torch.bincount(segment, minlength=completions)[segment])


class GroupRelative(Guarded, GroupCollecting):
    """Learning from groups of completions of one prompt, without a critic, as an SB3 algorithm.

    A minibatch's loss is that of PPO (Schulman et al., 2017, equation 7), - sum_t w_t min(rho_t A_t, clip(rho_t) A_t)
    with the weights of `token_weights`, less `ent_coef` times the mean entropy; a divergence that is part of it (see
    `KLControl`) has the same weights, and is not divided by deviations where advantages are. The value head learns
    nothing. What a time limit cuts off is lost: a completion's return is what it earned.

    Args:
        settings: the fields of its `Settings`, and `OnPolicyAlgorithm`'s arguments.
    """

    policy_aliases = A2C.policy_aliases
    leave_one_out: ClassVar[bool]
    settings: ClassVar[type[GroupSettings]]

    group_size: int
    episodes: int
    batch_size: int
    n_epochs: int
    clip_range: float
    per_token: bool
    length_normalisation: Normalisation
    normalise_std: bool = False

    def __init__(self, policy: Any, env: Any, **settings: Any) -> None:
        own = self.settings.model_fields.keys() - ControlledSettings.model_fields.keys() - {"ent_coef"}
        values = {**self.settings().model_dump(exclude={*OWN}), **settings}
        for name in own:
            setattr(self, name, values.pop(name))
        unused = {"n_steps": 64, "gae_lambda": 1.0, "vf_coef": 0.0, "use_sde": False, "sde_sample_freq": -1}
        super().__init__(policy, env, **{"rollout_buffer_class": GroupRolloutBuffer, **unused, **values})

    def _setup_model(self) -> None:
        if not isinstance(self.action_space, spaces.Discrete):
            raise InvalidSetting(
                f"{type(self).__name__} writes tokens, one an action: Discrete(size), not {self.action_space}. Use ppo."
            )
        super()._setup_model()

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        check_groups(self.n_envs, self.group_size, type(self).__name__)
        return super()._setup_learn(*args, **kwargs)

    def _weigh(self, buffer: GroupRolloutBuffer) -> None:
        rewards, at = buffer.table(buffer.rewards)
        onward = returns_onward(rewards, self.gamma)
        counted = ~buffer.alone(self.group_size)
        told = {"leave_one_out": self.leave_one_out, "per_token": self.per_token, "normalise_std": self.normalise_std}
        buffer.left_out[:, 0] = ~counted[at[0]]
        buffer.returns[:, 0] = onward[at]
        buffer.advantages[:, 0] = advantages(onward, self.group_size, **told, counted=counted)[at]

    def train(self) -> None:
        """Learn from the rollout, `n_epochs` times."""
        if counts_nothing(self.rollout_buffer):
            return
        policy, optimizer = self.policy, self.policy.optimizer
        policy.set_training_mode(True)
        self._update_learning_rate(optimizer)
        details: list[Tensor] = []
        for _ in range(self.n_epochs):
            for batch in self.rollout_buffer.get(self.batch_size):
                optimizer.zero_grad()
                details.append(self._add_gradients(batch))
                clipped_step(optimizer, self.max_grad_norm)
            self._n_updates += 1
        names = ("policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction", "loss")
        for name, value in zip(names, torch.stack(details).mean(dim=0).tolist()):
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _add_gradients(self, batch: Any) -> Tensor:
        """Add a minibatch's gradients, part by part, and return what is recorded of it, `(5,)`."""
        prefixes, total = batch.observations, torch.zeros(5, device=batch.actions.device)
        weight = token_weights(prefixes.segment, len(prefixes.tokens), self.length_normalisation)
        for chosen, part in parts(batch, self.micro_batch_size):
            loss, detail = self._loss(part, weight[chosen], len(part.actions) / len(batch.actions))
            loss.backward()  # type: ignore[no-untyped-call]
            total += detail
        return total

    def _loss(self, batch: Any, weight: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Return what a part of a minibatch adds to its loss, and to what is recorded of it, `(5,)`.

        Args:
            batch: the part.
            weight: `(N,)` of its tokens.
            share: of the minibatch's tokens, that it has.
        """
        values, log_prob, entropy, penalty = self._evaluated(batch)
        surrogate = Surrogate(batch.old_log_prob, batch.advantages, self.clip_range, weight, share * self.ent_coef)
        loss, details = surrogate(log_prob, entropy, values.flatten())
        if penalty is not None:
            loss = loss + (weight * penalty).sum()
        policy_loss, _, *means = details
        return loss, torch.stack([policy_loss, *(share * one for one in means), loss.detach()])


def choose(seen: Probe, given: GroupSettings) -> dict[str, Choice]:
    """Return what the environment's rows, length and density of reward speak for."""
    n, most = seen.n_envs, type(given).model_fields["group_size"].default
    if "group_size" in given.model_fields_set or n < 2:
        check_groups(n, given.group_size, type(given).__name__.removesuffix("Settings"))
    size = max([size for size in range(2, most + 1) if n % size == 0], default=max(n, 2))
    chosen = {"group_size": Choice(size, f"divides the {n} rows, at most {most} where it can")}
    if seen.dense:
        chosen["per_token"] = Choice(True, "most steps pay: what came before a token is not its merit")
    return {**chosen, "reward_scale": reward_scale(seen), **discount(seen), **step_size(given)}


def group_arguments(env: Any, settings: GroupSettings) -> dict[str, Any]:
    """Return the keyword arguments for an agent of groups, its environment and policy included."""
    return {**on_policy_arguments(env, settings), "rollout_buffer_class": GroupRolloutBuffer}
