"""A language model as policy under PPO: tokens per second, written naively and as `CausalLMPolicy` reads them.

    python benchmarks/causal_lm.py                                     # both shapes; some ten minutes on one core
    python benchmarks/causal_lm.py --shapes small --lengths 32 64 --threads 2
    python benchmarks/causal_lm.py --device cuda

The naive side is what one writes: a features extractor that gives the padded row to GPT2Model and takes the newest
token's vector, PPO("MlpPolicy") with linear heads, SB3's buffer. Both sides have the same architecture with random
weights, the same environment (`make_vec_env`: 32 rows that write a fixed text of an alphabet of 5,000), one rollout,
and an update of one epoch in minibatches of 256 transitions. They take turns; each has warmed up. A ratio is the median
over the turns of the naive side's seconds by ours; the speeds are medians. Seconds are the processor's on one thread,
the clock's on several and on a GPU. Against TRL on the same work: benchmarks/peers/grpo.py --agent gpt2.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any, NamedTuple

import gymnasium
import torch
from learning_speed import seconds
from machine import device_option, machine
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor
from transformers import GPT2Config, GPT2Model

from agents import CausalLMPolicy, EpisodeRolloutBuffer, make_vec_env

ROWS, TOKENS = 32, 5000
SHAPES: dict[str, dict[str, int]] = {
    "small": {"n_layer": 4, "n_embd": 128, "n_head": 4},
    "large": {"n_layer": 12, "n_embd": 768, "n_head": 12},
}
LENGTHS = {"small": (16, 64), "large": (16,)}
ALPHABET = "".join(chr(ord("一") + i) for i in range(TOKENS))


class NaiveExtractor(BaseFeaturesExtractor):
    """GPT-2's body over the whole padded row at every step; the newest token's hidden vector: what one would write."""

    def __init__(self, space: gymnasium.spaces.Box, **shape: int) -> None:
        super().__init__(space, shape["n_embd"])
        self.pad, length = int(space.high[0]), space.shape[0]
        sizes: dict[str, Any] = {"vocab_size": self.pad + 1, "n_positions": length + 1, **shape}
        self.model: Any = GPT2Model(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))

    def forward(self, observations: Tensor) -> Tensor:
        """Return features `(B, n_embd)` of rows `(B, L)`."""
        ids = torch.nn.functional.pad(observations.long(), (1, 0), value=self.pad)  # an empty row has a column too
        hidden: Tensor = self.model(input_ids=ids, use_cache=False).last_hidden_state
        return hidden[torch.arange(len(ids)), (observations != self.pad).sum(dim=1)]


class Turn(NamedTuple):
    """What one rollout and the update after it took, in seconds."""

    rollout: float
    update: float


def agent(name: str, length: int, shape: dict[str, int], device: str) -> PPO:
    """Return a PPO agent that has not learned yet; naive or ours."""
    env = make_vec_env("TextGen-v0", ROWS, seed=0, target=ALPHABET[:length], alphabet=ALPHABET)
    common: dict[str, Any] = {"n_steps": length, "batch_size": 256, "n_epochs": 1, "seed": 0, "device": device}
    if name == "ours":
        own = {"model": {"model_type": "gpt2", **shape}}
        return PPO(CausalLMPolicy, env, rollout_buffer_class=EpisodeRolloutBuffer, policy_kwargs=own, **common)
    naive = {"features_extractor_class": NaiveExtractor, "features_extractor_kwargs": shape}
    return PPO("MlpPolicy", env, policy_kwargs={"net_arch": [], "ortho_init": False, **naive}, **common)


def turn(model: PPO, length: int, by_clock: bool) -> Turn:
    """Let an agent write and learn once."""
    if not hasattr(model, "_logger"):
        _, model.turns = model._setup_learn(10**9)  # type: ignore[attr-defined]
    callback = model.turns  # type: ignore[attr-defined]
    assert model.env is not None
    env, buffer = model.env, model.rollout_buffer
    return Turn(
        seconds(lambda: model.collect_rollouts(env, callback, buffer, length), by_clock),
        seconds(model.train, by_clock),
    )


def measured(shape: str, length: int, options: argparse.Namespace) -> str:
    """Return a row of the table."""
    sides = {name: agent(name, length, SHAPES[shape], options.device) for name in ("naive", "ours")}
    by_clock = options.threads > 1 or options.device != "cpu"
    taken: dict[str, list[Turn]] = {name: [] for name in sides}
    for pair in range(options.pairs + 1):
        for name, model in sides.items():
            found = turn(model, length, by_clock)
            taken[name] += [found] if pair else []  # the first is for warming up
    cells = [shape, str(length)]
    for phase in range(3):
        spent = [[turn[phase] if phase < 2 else sum(turn) for turn in taken[name]] for name in ("naive", "ours")]
        speeds = [f"{ROWS * length / statistics.median(one):,.0f}" for one in spent]
        ratio = statistics.median(naive / ours for naive, ours in zip(*spent))
        cells += [*speeds, f"{ratio:.1f}x"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="4 x 128, or 12 x 768")
    parser.add_argument("--lengths", nargs="+", type=int, metavar="T", help="small: 16 and 64; large: 16")
    parser.add_argument("--pairs", type=int, default=3, help="how often the sides take turns")
    parser.add_argument("--threads", type=int, default=1)
    device_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine("stable-baselines3", "torch", "transformers"))
    print(f"{ROWS} rows, {TOKENS:,} tokens, {options.threads} thread(s), {options.device}; tokens/s\n")
    phases = ("rollout", "update", "end to end")
    head = ["shape", "T", *(f"{phase}, {side}" for phase in phases for side in ("naive", "ours", "ratio"))]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for shape in options.shapes:
        for length in options.lengths or LENGTHS[shape]:
            print(measured(shape, length, options), flush=True)


if __name__ == "__main__":
    main()
