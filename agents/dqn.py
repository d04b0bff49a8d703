"""DQN with the causal transformer: Q-learning from a memory of transitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples, RolloutReturn
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.nn import functional

from .deep import discount, dqn_arguments, step_size
from .flat_adam import FlatAdam
from .guard import Guarded
from .masked import MaskedAgent, masks_of
from .probe import Probe
from .q_policies import PrefixDQNPolicy
from .recipe import Recipe
from .replay import EpisodeReplayBuffer
from .scaled import reward_scale
from .settings import Choice, Count, DeepSettings, Positive, Share, TrunkSettings

Array = npt.NDArray[Any]


class DQNSettings(DeepSettings):
    """DQN's settings, by SB3's names."""

    learning_rate: Positive = Field(1e-3, description="the step size of Adam")
    buffer_size: Count = Field(50_000, description="the transitions remembered")
    learning_starts: int = Field(256, ge=0, description="the random steps before learning begins")
    batch_size: Count = Field(64, description="the transitions of a minibatch")
    train_freq: Count = Field(1, description="the steps of each row between updates")
    gradient_steps: Count = Field(1, description="the minibatches of an update")
    target_update_interval: Count = Field(256, description="the steps between copies into the target network")
    tau: Share = Field(1.0, description="the share of a copy into the target network that is new")
    exploration_initial_eps: Share = Field(1.0, description="the chance of a random action at the start")
    exploration_final_eps: Share = Field(0.05, description="the chance of a random action in the end")
    exploration_fraction: Share = Field(0.5, description="the share of learning in which that chance falls")
    max_grad_norm: Positive = Field(10.0, description="the norm that gradients are clipped to")
    trunk: ClassVar[type[TrunkSettings]] = TrunkSettings


class GuardedDQN(Guarded, MaskedAgent, DQN):
    """Stable-Baselines3's DQN with a `FiniteGuard`, and actions and targets within the environment's masks."""

    _mask: Callable[[], Array] | None = None  # the masks of an environment that has some
    _masks: Array | None = None  # (n, size) bool, of the next step

    @property
    def leaves_out(self) -> bool:
        """Whether the memory leaves episodes without a score out."""
        return isinstance(self.replay_buffer, EpisodeReplayBuffer)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Learn from the memory as SB3's DQN does, with fewer small operations: on few rows they are what it costs."""
        optimizer = self.policy.optimizer
        if not isinstance(optimizer, FlatAdam):
            return super().train(gradient_steps, batch_size)
        assert self.replay_buffer is not None
        self.policy.set_training_mode(True)
        self._update_learning_rate(optimizer)
        losses: list[Tensor] = []
        for _ in range(gradient_steps):
            loss = self._loss(self.replay_buffer.sample(batch_size, env=self._vec_normalize_env))
            losses.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step_clipped(self.max_grad_norm)
        optimizer.spread()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", torch.stack(losses).mean().item())

    def _loss(self, batch: ReplayBufferSamples) -> Tensor:
        """Return the mean Huber loss of a minibatch's temporal-difference errors, `()` (Mnih et al., 2015)."""
        with torch.no_grad():
            following = self.q_net_target(batch.next_observations).amax(dim=1, keepdim=True)
            discounts = getattr(batch, "discounts", None)  # of n-step replay
            onward = (1 - batch.dones) * (self.gamma if discounts is None else discounts)
            targets = torch.addcmul(batch.rewards, onward, following)
        found = self.q_net(batch.observations).gather(1, batch.actions.long())
        return functional.smooth_l1_loss(found, targets)

    def collect_rollouts(self, env: VecEnv, *args: Any, **kwargs: Any) -> RolloutReturn:
        """Step the environment as SB3 does; where it has masks, they are looked up once a step."""
        self._mask = masks_of(env) if isinstance(self.replay_buffer, EpisodeReplayBuffer) else None
        self._masks = self._mask() if self._mask else None
        return super().collect_rollouts(env, *args, **kwargs)

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> tuple[Any, Any]:
        """Return the actions of all rows, `(n,)`, twice: as they are taken, and as they are remembered."""
        policy = self.policy
        if not isinstance(policy, PrefixDQNPolicy):
            return super()._sample_action(learning_starts, action_noise, n_envs)
        if self.num_timesteps < learning_starts or np.random.rand() < self.exploration_rate:  # noqa: NPY002
            actions = self._any(n_envs, self._masks)
        else:
            actions = policy.follow(self._last_obs, self._masks)
        return actions, actions

    def _store_transition(
        self, replay_buffer: ReplayBuffer, buffer_action: Array, new_obs: Any, reward: Array, dones: Array, infos: Any
    ) -> None:
        """Remember a step, and within which masks the next one will be taken."""
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        if self._mask and isinstance(replay_buffer, EpisodeReplayBuffer):
            self._masks = self._mask()
            # an ended row's are those of its next episode; where a time limit cut it, all actions count in its target
            replay_buffer.restrict(self._masks | dones[:, None])

    def _explored(self, masks: Array) -> Array | None:
        """Return actions of chance within masks `(n, size)`, as often as SB3's DQN explores; None otherwise."""
        explores = np.random.rand() < self.exploration_rate  # noqa: NPY002 (SB3's DQN draws from it)
        return self._any(len(masks), masks) if explores else None

    def _any(self, n: int, masks: Array | None) -> Array:
        """Return one of each row's actions, each equally likely, `(n,)`."""
        rng = self.action_space.np_random
        if masks is None:
            return rng.integers(self.action_space.n, size=n)  # type: ignore[attr-defined]
        chosen: Array = np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)
        return chosen

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_mask", "_masks"]


def choose(seen: Probe, given: DQNSettings) -> Mapping[str, Choice]:
    """Return what the environment's scale of reward and rows speak for."""
    interval = max(given.target_update_interval, seen.n_envs)
    return {
        "target_update_interval": Choice(interval, "at least the rows that are stepped at once"),
        "reward_scale": reward_scale(seen),
        **discount(seen),
        **step_size(given),
    }


def build(env: Any, settings: DQNSettings, **runtime: Any) -> GuardedDQN:
    """Return Stable-Baselines3's DQN (Mnih et al., 2015) with a `TransformerExtractor`."""
    return GuardedDQN(**dqn_arguments(env, settings), **runtime)


make = Recipe("dqn", DQNSettings, build, choose)
