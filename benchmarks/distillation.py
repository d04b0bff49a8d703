"""What smaller and cheaper policies keep of a large one, and what they cost.

    python benchmarks/distillation.py
    python benchmarks/distillation.py --parts speed --rows 16

The teachers are a GPT-2 of 4 layers, 128 wide, and our transformer of 4 layers, 256 wide, both trained by PPO on
TextGym/Brackets-v0. Each is distilled into our transformer at two sizes, and quantised to int8; int8 of the larger
student comes last. The second table is of speed
alone: networks with random weights write texts of 32 tokens over an alphabet of 64, float32 and int8 in turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import torch
from machine import machine

from agents import compare, distill, load, make, make_vec_env, quantise, save
from agents.comparing import footprint, tokens_per_second
from agents.scoring import markdown_table

GPT2 = {"model": {"model_type": "gpt2", "n_layer": 4, "n_embd": 128, "n_head": 4}}
OURS = {"d_model": 256, "n_layers": 4, "n_heads": 8}
STUDENTS = {
    "2 layers, 64 wide": {"d_model": 64, "n_layers": 2, "n_heads": 4},
    "1 layer, 16 wide": {"d_model": 16, "n_layers": 1, "n_heads": 2},
}
SHAPES: dict[str, dict[str, Any]] = {
    "ours, 2 layers, 64 wide": {"d_model": 64, "n_layers": 2, "n_heads": 4},
    "ours, 4 layers, 256 wide": OURS,
    "GPT-2, 4 layers, 128 wide": GPT2,
    "GPT-2, 4 layers, 512 wide": {"model": {"model_type": "gpt2", "n_layer": 4, "n_embd": 512, "n_head": 8}},
}


def teacher(policy: dict[str, Any], steps: int, **settings: Any) -> Any:
    """Return an agent that closes brackets."""
    env = make_vec_env("TextGym/Brackets-v0", 8, seed=0)
    return make("ppo", env, seed=0, device="cpu", policy=policy, **settings).learn(steps)


def in_int8(agent: Any) -> Any:
    """Return a quantised copy of an agent."""
    with tempfile.TemporaryDirectory() as folder:
        save(agent, folder)
        return quantise(load(folder, device="cpu"))


def keep(name: str, large: Any, options: argparse.Namespace) -> None:
    """Print what students and int8 keep of a teacher."""
    both: dict[str, Any] = {name: large}
    for size, settings in STUDENTS.items():
        start = time.perf_counter()
        both[size] = distill(large, settings, rounds=options.rounds, device="cpu")
        found = both[size].made.distillation
        print(
            f"{size}: {found['rounds']} rounds, {found['tokens']:,} tokens, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    both[f"{name}, int8"] = in_int8(large)
    both[f"{next(iter(STUDENTS))}, int8"] = in_int8(both[next(iter(STUDENTS))])
    task = large.env.get_attr("task")[0]
    print(compare(both, task, episodes=options.episodes, rows=options.rows).markdown(), flush=True)


def speed(rows: int) -> None:
    """Print how fast networks of several shapes write, in float32 and in int8."""
    lines = []
    text = "".join(chr(ord("0") + i) for i in range(64))
    for name, policy in SHAPES.items():
        env = make_vec_env("TextGen-v0", 1, seed=0, target=text[:32], alphabet=text)
        plain = make("ppo", env, seed=0, device="cpu", policy=policy)
        sides = {"float32": plain, "int8": in_int8(plain)}
        for many in (1, rows):
            found = tokens_per_second(sides, env.get_attr("task")[0], many)
            sizes = [footprint(side)[1] / 2**20 for side in sides.values()]
            ratio = found["int8"] / found["float32"]
            cells = [f"{sizes[0]:.1f}", f"{sizes[1]:.1f}", f"{found['float32']:,.0f}", f"{found['int8']:,.0f}"]
            lines.append([name, str(many), *cells, f"{ratio:.2f}x"])
    head = ("network", "rows", "float32, MiB", "int8, MiB", "float32, tokens/s", "int8, tokens/s", "ratio")
    print("\n".join(markdown_table(head, lines)))


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6_000, help="of the teachers' training")
    parser.add_argument("--rounds", type=int, default=40, help="of distillation at most")
    parser.add_argument("--episodes", type=int, default=400, help="written for agreement, and where nothing is exact")
    parser.add_argument("--rows", type=int, default=64, help="written side by side where speed is measured")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=("kept", "speed"), default=["kept", "speed"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine("torch", "transformers"))
    if "kept" in options.parts:
        keep("GPT-2, 4 layers, 128 wide", teacher(GPT2, options.steps), options)
        keep("ours, 4 layers, 256 wide", teacher(OURS, options.steps, learning_rate=5e-4), options)
    if "speed" in options.parts:
        speed(options.rows)


if __name__ == "__main__":
    main()
