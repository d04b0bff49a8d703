"""The agents that benchmarks compare: from SB3 used plainly to TextGym's own, one step at a time."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env as sb3_make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

import agents
import textgym
from agents import (
    CachedTransformerDQNPolicy,
    CachedTransformerPolicy,
    EpisodeReplayBuffer,
    EpisodeRolloutBuffer,
    TransformerExtractor,
    make_vec_env,
)

ROWS, LETTERS, EPOCHS = 64, 64, 4
ALPHABET = "".join(chr(ord("一") + i) for i in range(LETTERS))
ON_POLICY = ("plain", "batched", "ours", "cached", "packed", "whole")
PACKED = ("packed", "whole")  # what reads each episode once in an update
CACHED = ("cached", *PACKED)  # what reads each token once in a rollout
OFF_POLICY = ("plain", "packed", "whole")


class PlainExtractor(BaseFeaturesExtractor):
    """A causal nn.TransformerEncoder over the row, pads masked; the newest token's vector: what one would write."""

    def __init__(self, space: gymnasium.spaces.Box, d_model: int, n_layers: int, n_heads: int) -> None:
        super().__init__(space, d_model)
        self.pad, length = int(space.high[0]), space.shape[0]
        self.token, self.position = nn.Embedding(self.pad + 1, d_model), nn.Embedding(length + 1, d_model)
        layer = nn.TransformerEncoderLayer(
            d_model, n_heads, 4 * d_model, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.register_buffer("mask", torch.full((length + 1, length + 1), float("-inf")).triu(1), persistent=False)

    def forward(self, observations: Tensor) -> Tensor:
        """Return features `(B, d_model)` of rows `(B, L)`."""
        ids = nn.functional.pad(observations.long(), (1, 0), value=self.pad)  # an empty row has a column too
        x = self.token(ids) + self.position.weight
        hidden: Tensor = self.encoder(x, mask=self.mask)
        return hidden[torch.arange(len(ids)), (observations != self.pad).sum(dim=1)]


def environment(length: int, batched: bool) -> Any:
    """Return 64 rows that write a fixed text: TextGym's array environment, or SB3's DummyVecEnv of single ones."""
    textgym.env_ids()  # registered by the import
    target = "".join(np.random.default_rng(0).choice(list(ALPHABET), length))
    kwargs: dict[str, Any] = {"target": target, "alphabet": ALPHABET}
    if batched:
        return make_vec_env("TextGen-v0", ROWS, seed=0, **kwargs)
    return sb3_make_vec_env("TextGen-v0", ROWS, seed=0, env_kwargs=kwargs)


def on_policy(name: str, length: int, sizes: dict[str, int], minibatch: int, device: str) -> Any:
    """Return a PPO agent that has not learned yet.

    plain: nn.TransformerEncoder over the padded prefix, SB3's make_vec_env, PPO("MlpPolicy"); batched: make_vec_env
    instead; ours: TransformerExtractor too; cached: CachedTransformerPolicy; packed: EpisodeRolloutBuffer too; whole:
    agents.make("ppo").
    """
    env = environment(length, name != "plain")
    common: dict[str, Any] = {"n_steps": length, "batch_size": minibatch, "n_epochs": EPOCHS, "seed": 0}
    if name == "whole":
        return agents.make("ppo", env, device=device, policy=sizes, **common)
    plain = {"net_arch": [], "ortho_init": False, "features_extractor_kwargs": sizes}
    extractor = PlainExtractor if name in ("plain", "batched") else TransformerExtractor
    return PPO(
        CachedTransformerPolicy if name in CACHED else "MlpPolicy",
        env,
        rollout_buffer_class=EpisodeRolloutBuffer if name in PACKED else None,
        policy_kwargs={"features_extractor_kwargs": sizes}
        if name in CACHED
        else {**plain, "features_extractor_class": extractor},
        device=device,
        **common,
    )


def off_policy(name: str, length: int, sizes: dict[str, int], minibatch: int, device: str) -> Any:
    """Return a DQN agent whose memory holds 16 episodes a row.

    plain: nn.TransformerEncoder over the padded prefix, SB3's make_vec_env and replay buffer, DQN("MlpPolicy"); packed:
    CachedTransformerDQNPolicy and EpisodeReplayBuffer; whole: agents.make("dqn").
    """
    env = environment(length, name != "plain")
    common: dict[str, Any] = {"buffer_size": 16 * ROWS * length, "learning_starts": 0, "batch_size": minibatch}
    common |= {"train_freq": 1, "gradient_steps": 1, "seed": 0}
    if name == "whole":
        return agents.make("dqn", env, device=device, policy=sizes, **common)
    kwargs: dict[str, Any] = {"features_extractor_kwargs": sizes}
    if name == "plain":
        kwargs |= {"net_arch": [], "features_extractor_class": PlainExtractor}
    return DQN(
        CachedTransformerDQNPolicy if name == "packed" else "MlpPolicy",
        env,
        replay_buffer_class=EpisodeReplayBuffer if name == "packed" else None,
        policy_kwargs=kwargs,
        device=device,
        **common,
    )
