"""A pretrained language model learns to go on kindly: LoRA PPO with VADER's sentiment of what it writes as the reward.

    pip install "textgym[agents,lora]" && pip install --no-deps vaderSentiment
    python benchmarks/smollm2.py DIR                 # SmolLM2-135M-Instruct, once
    python benchmarks/sentiment.py DIR               # some twenty minutes on one core

Short neutral beginnings of sentences are continued by 16 tokens, drawn from the 50 likeliest, special ones left out;
VADER's compound score of the continuation (Hutto & Gilbert, 2014; -1 to 1) is the reward, paid with the last token.
Adapters of rank 8 learn, and the value head; each nat of divergence from the model without them costs `--kl`. Before
and after, continuations of beginnings that were never learned on are drawn: reward, how varied they are, and their
perplexity under the model without adapters. Seconds are the wall's and the processor's.
"""

from __future__ import annotations

import argparse
import importlib
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import device_option, machine
from stable_baselines3.common.callbacks import BaseCallback

from agents import make, make_vec_env
from agents.evaluation import write
from agents.scoring import markdown_table
from agents.text_metrics import Measures
from textgym import Episodes, Prompt, Task, Vocabulary
from textgym.masks import Candidates
from textgym.prompts import ListedPrompts
from textgym.tokenizers import load_tokenizer

HORIZON, TOP_K = 16, 50
METRICS = "perplexity,distinct,repetition"

LEARNED_ON = (
    "The film I saw last night",
    "Our waiter came back and",
    "I opened the letter and",
    "The second half of the book",
    "When we got to the hotel,",
    "My new neighbour",
    "The meeting this morning",
    "After the concert we",
    "The soup they served",
    "I called the support line and",
    "The first day at school",
    "Her answer to my question",
    "The train to the coast",
    "I have used this phone for a week and",
    "The weather on our trip",
    "My brother told me that",
    "The new office",
    "We tried the bakery on the corner and",
    "The last episode",
    "He looked at the painting and",
    "The garden behind the house",
    "I took the dog to the park and",
    "The teacher read my essay and",
    "The flight from Boston",
    "Dinner at my aunt's",
    "The mechanic looked at my car and",
    "The museum on Main Street",
    "She picked up the phone and",
    "The game on Saturday",
    "I finished the course and",
    "The shop sent me",
    "The people at the party",
)
HELD_OUT = (
    "The play we saw on Friday",
    "The food at the new restaurant",
    "I read the review and",
    "My first week at the job",
    "The doctor came in and",
    "The apartment we rented",
    "When I met her parents,",
    "The band started to play and",
)


@dataclass(frozen=True)
class Sentiment:
    """VADER's compound score of a finished continuation; 0 on the way."""

    def __call__(self, episodes: Episodes) -> Any:
        """Return `(n,)` float64 from -1 to 1."""
        scores = np.zeros(len(episodes))
        for row in np.flatnonzero(episodes.finished):
            text = episodes.vocabulary.decode(episodes.completion[row])
            scores[row] = self.analyser.polarity_scores(text)["compound"]
        return scores

    @cached_property
    def analyser(self) -> Any:
        """What knows the words."""
        try:
            return importlib.import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()
        except ImportError as error:
            raise SystemExit(f"{error}: pip install --no-deps vaderSentiment") from error


def task(model: str, beginnings: tuple[str, ...]) -> Task:
    """Return the task of continuing one of some beginnings; its rows are as wide as all need."""
    vocabulary = replace(Vocabulary.from_pretrained(model), eos=None)  # what is written is always as long
    special = {*load_tokenizer(model).all_special_ids}
    words = Candidates(tuple(i for i in range(vocabulary.size) if i not in special), vocabulary.size)
    every, nothing = (*LEARNED_ON, *HELD_OUT), np.zeros(0, np.int32)
    prompts = tuple(Prompt(vocabulary.encode(text).astype(np.int32), nothing) for text in every)
    shares = tuple((text in beginnings) / len(beginnings) for text in every)
    return Task(vocabulary, ListedPrompts(prompts, shares), Sentiment(), HORIZON, mask=words)


class Progress(BaseCallback):
    """Prints what each rollout earned, and how far it went from the model without adapters."""

    def _on_training_start(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def _on_rollout_end(self) -> None:
        episodes: Any = self.model.ep_info_buffer
        recent = [episode["r"] for episode in episodes][-self.training_env.num_envs :]
        kl = self.model.kl_control.measured  # type: ignore[attr-defined]
        spent = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        told = f"{self.num_timesteps:6,} tokens, {spent[0]:5.0f} s, {spent[1]:5.0f} s of processor"
        print(f"{told}: reward {np.mean(recent):+.3f}, KL {kl:.2f}", flush=True)

    def _on_step(self) -> bool:
        return True


def measured(agent: Any, model: str, held_out: Task, episodes: int) -> tuple[dict[str, Any], list[str]]:
    """Return figures, and a sample of each beginning; the same beginnings each time, and the same chance."""
    torch.manual_seed(0)
    rows, returns = write(agent, held_out, episodes, deterministic=False)
    figures = Measures.read(METRICS, Path(model))(held_out, rows)
    error = returns.std(ddof=1) / np.sqrt(len(returns))
    figures = {"reward": float(returns.mean()), "error": float(error), **figures}
    decode = held_out.vocabulary.decode
    samples = {}
    for prompt, completion, earned in zip(rows.prompt, rows.completion, returns):
        samples[decode(prompt)] = f"{decode(prompt)}**{decode(completion)}** ({earned:+.2f})".replace("\n", " ")
    return figures, [*samples.values()]


def main() -> None:
    """Learn, and print the table and samples as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="DIR", help="that benchmarks/smollm2.py wrote, or any causal language model's")
    parser.add_argument("--agent", default="ppo", help="ppo, a2c, reinforce, rloo or grpo")
    parser.add_argument("--completions", type=int, default=1024, help="to learn from")
    parser.add_argument("--episodes", type=int, default=256, help="before and after, of held-out beginnings")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--kl", type=float, default=0.05, help="what a nat costs")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    device_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine("torch", "transformers", "peft", "vaderSentiment"))
    settings: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "n_epochs": options.epochs,
        "batch_size": 16 * HORIZON,
        "ent_coef": 0.0,
        "kl_coefficient": options.kl,
        "policy": {"model": options.model, "lora": {"r": 8}, "top_k": TOP_K},
    }
    if options.agent == "ppo":
        settings |= {"n_steps": HORIZON, "gae_lambda": 1.0}
    env = make_vec_env(task(options.model, LEARNED_ON), options.rows, seed=0)
    agent = make(options.agent, env, seed=0, device=options.device, **settings)
    held_out = task(options.model, HELD_OUT)
    lines, samples = [], []
    for when in ("before", "after"):
        if when == "after":
            agent.learn(options.completions * HORIZON, callback=Progress(), log_interval=None)
        figures, texts = measured(agent, options.model, held_out, options.episodes)
        reward = f"{figures.pop('reward'):+.3f} ± {figures.pop('error'):.3f}"
        lines.append([when, reward, *["" if value is None else f"{value:.3f}" for value in figures.values()]])
        samples += [f"\n{when}:\n", *[f"- {text}" for text in texts]]
        print(f"{when}: reward {reward}, {figures}", flush=True)
    print("\n".join(["", *markdown_table(["", "reward", *figures], lines), *samples]))


if __name__ == "__main__":
    main()
