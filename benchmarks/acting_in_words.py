"""A language model on CartPole in words: as the policy itself, and as the adviser whose advice is paid.

    python benchmarks/acting_in_words.py                  # a tiny one, fresh, learns to balance: under a minute
    python benchmarks/smollm2.py DIR                      # SmolLM2-135M-Instruct, where no hub can be reached
    python benchmarks/acting_in_words.py DIR              # some ten minutes on one core

The tiny one, a GPT-2 of one layer 32 wide, reads four tokens a state and learns by PPO with default settings; what it
earns is counted up to 200 steps an episode, where random actions earn about 22.

As the policy a pretrained one reads "The cart is ..., the pole leans ... Push it to the", and acts by its logits at
" left" and " right"; PPO trains all of it. What is printed: what the untrained model earns, what it earns after a few
hundred steps, and what each costs. It shows that both ways run from end to end, not that they balance a pole well.
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
TINY = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2}


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


def act(folder: str, steps: int, rows: int, seed: int, episodes: int) -> None:
    """Train the model as the policy by PPO, and print what it earned before and after."""
    asked: dict[str, Any] = {"text": "english", "tokenizer": folder, "instruction": INSTRUCTION, "max_steps": 200}
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 64, "n_epochs": 2}
    agent = make("ppo", make_vec_env(ID, rows, seed=seed, **asked), policy={"model": folder}, seed=seed, **settings)
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


def learn(seeds: int) -> None:
    """Let a tiny model learn to balance, from each seed, and print what it then earns."""
    control, options = load_control(ID, max_steps=200)
    for seed in range(seeds):
        start = time.process_time()
        agent = make("ppo", make_vec_env(ID, 16, seed=seed, max_steps=200), policy={"model": TINY}, seed=seed)
        agent.learn(6_144)
        seconds = time.process_time() - start
        found = evaluate_control(agent, control, options, 100, seed=1_000, samples=0)
        print(
            f"tiny, seed {seed}: return {found.mean_return:.1f} of 200 after {agent.num_timesteps} steps and "
            f"{seconds:.1f} s of processor time"
        )


def main() -> None:
    """Print what it earns and costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", metavar="DIR", help="a causal language model and its tokenizer")
    parser.add_argument("--seeds", type=int, default=5, help="of the tiny one")
    parser.add_argument("--steps", type=int, default=512, help="of PPO")
    parser.add_argument("--rows", type=int, default=8, help="episodes side by side; an update follows 32 steps of each")
    parser.add_argument("--advised", type=int, default=60, help="steps with advice")
    parser.add_argument("--episodes", type=int, default=10, help="of an evaluation")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torch", "transformers", "stable-baselines3"))
    if given.folder is None:
        return learn(given.seeds)
    advise(given.folder, given.advised, given.seed)
    act(given.folder, given.steps, given.rows, given.seed, given.episodes)


if __name__ == "__main__":
    main()
