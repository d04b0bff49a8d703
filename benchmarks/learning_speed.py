"""Tokens learned from per second: SB3 used plainly, and the steps towards reading each token once, one by one.

    python benchmarks/learning_speed.py                          # T = 16, 32, 64; some minutes
    python benchmarks/learning_speed.py --lengths 128 --pairs 1  # some minutes more

Every side writes the same task: T tokens of an alphabet of 64, 64 rows, and learns from one rollout with PPO, 4 epochs,
minibatches of 256 transitions, a transformer of 2 layers, 64 wide. Sides take turns; the figure is the median of their
CPU seconds on one thread. The sides:

    plain     what one writes: nn.TransformerEncoder over the padded prefix, SB3's make_vec_env, PPO("MlpPolicy")
    ours      make_vec_env and TransformerExtractor in place of those
    cached    CachedTransformerPolicy: while acting, each row costs its newest token
    packed    EpisodeRolloutBuffer too: in the update, each episode costs one pass
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from machine import machine
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env as sb3_make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

import textgym
from agents import CachedTransformerPolicy, EpisodeRolloutBuffer, TransformerExtractor, make_vec_env

ROWS, LETTERS, EPOCHS, MINIBATCH = 64, 64, 4, 256
SIZES = {"d_model": 64, "n_layers": 2, "n_heads": 4}
ALPHABET = "".join(chr(ord("一") + i) for i in range(LETTERS))


class PlainExtractor(BaseFeaturesExtractor):
    """A causal nn.TransformerEncoder over the row, pads masked; the newest token's vector."""

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


def side(name: str, length: int) -> PPO:
    """Return an agent that has not learned yet."""
    textgym.env_ids()
    target = "".join(np.random.default_rng(0).choice(list(ALPHABET), length))
    kwargs: dict[str, Any] = {"target": target, "alphabet": ALPHABET}
    plain = {"net_arch": [], "ortho_init": False, "features_extractor_kwargs": SIZES}
    env: Any = make_vec_env("TextGen-v0", ROWS, seed=0, **kwargs)
    policy: Any = "MlpPolicy"
    policy_kwargs: dict[str, Any] = {**plain, "features_extractor_class": TransformerExtractor}
    buffer: Any = None
    if name == "plain":
        env = sb3_make_vec_env("TextGen-v0", ROWS, seed=0, env_kwargs=kwargs)
        policy_kwargs["features_extractor_class"] = PlainExtractor
    if name in ("cached", "packed"):
        policy, policy_kwargs = CachedTransformerPolicy, {"features_extractor_kwargs": SIZES}
    if name == "packed":
        buffer = EpisodeRolloutBuffer
    return PPO(
        policy,
        env,
        n_steps=length,
        batch_size=MINIBATCH,
        n_epochs=EPOCHS,
        rollout_buffer_class=buffer,
        policy_kwargs=policy_kwargs,
        seed=0,
        device="cpu",
    )


def seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(name: str, length: int) -> tuple[float, float]:
    """Return the CPU seconds of one rollout and of the update that follows."""
    model = side(name, length)
    _, callback = model._setup_learn(ROWS * length)
    env, buffer = model.env, model.rollout_buffer
    assert env is not None
    rollout = seconds(lambda: model.collect_rollouts(env, callback, buffer, length))
    return rollout, seconds(model.train)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--pairs", type=int, default=3, help="how often the sides take turns")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("stable-baselines3", "torch"))
    print("| T | side | rollout, tokens/s | update, tokens/s | end to end, tokens/s | ratio |\n" + "| --- " * 6 + "|")
    for length in arguments.lengths:
        names = ("plain", "ours", "cached", "packed")
        taken = [{name: measure(name, length) for name in names} for _ in range(arguments.pairs)]
        for name in names:
            tokens = ROWS * length
            rollout, update = (statistics.median(turn[name][part] for turn in taken) for part in (0, 1))
            ratio = statistics.median(sum(turn["plain"]) / sum(turn[name]) for turn in taken)
            whole = statistics.median(sum(turn[name]) for turn in taken)
            print(
                f"| {length} | {name} | {tokens / rollout:,.0f} | {tokens / update:,.0f} | {tokens / whole:,.0f} | "
                f"{ratio:.1f}x |",
                flush=True,
            )


if __name__ == "__main__":
    main()
