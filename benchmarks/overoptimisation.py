"""Over-optimisation: proxy and gold reward against the root of the divergence from where writing began.

    python benchmarks/overoptimisation.py                     # all of it: some 10 minutes on one core
    python benchmarks/overoptimisation.py --parts letters     # what is computed exactly: some two minutes
    python benchmarks/overoptimisation.py --report            # the tables and the picture of what is there

It is the experiment of Gao, Schulman & Hilton (2023, "Scaling laws for reward model overoptimization"), small: proxies
learn from few or many preferences, policies are optimised for them, by policy gradients at several KL coefficients and
by the best of n samples, and a gold reward that they never see says what they are worth. Two tasks:

- `letters`, whose 4,096 texts are all listed: divergences and rewards are exact, and so is the best that can be had at
  each divergence, the KL-regularised optimum of `textgym.solve`.
- `reviews`, `TextGym/RewardModel-v0`: real reviews, reward models, and a reference language model.

Each finished piece of work is a line of `overoptimisation.jsonl` in `--out`; what is there is not done again, so that
it may be stopped, and gone on with, at any time. `--minutes` begins nothing new after so long a time on the processor.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from machine import machine
from overoptimisation_report import report

RESULTS = Path(__file__).parent / "results"
LINES = "overoptimisation.jsonl"


def work(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield the name of each piece of work, and what does it."""
    if "letters" in options.parts:
        import letters

        yield from letters.jobs(options.letters_pairs, options.letters_betas, options.seeds)
    if "reviews" in options.parts:
        import reviews

        models = options.models or options.out / "models"
        yield from reviews.jobs(models, options.pairs, options.betas, options.seeds, options.steps, options.agent)


def read(path: Path) -> dict[str, Any]:
    """Return the results of finished pieces of work, by their names."""
    if not path.exists():
        return {}
    return {line["name"]: line["result"] for line in map(json.loads, path.read_text("utf-8").splitlines())}


def main() -> None:
    """Do what is left to do, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("letters", "reviews"), default=["letters", "reviews"])
    parser.add_argument("--letters-pairs", type=int, nargs="+", default=[30, 300, 1800])
    parser.add_argument("--letters-betas", type=float, nargs="+", default=[0.3, 0.003])
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=[50, 450, 1500], help="that proxies of reviews learn from"
    )
    betas = "KL coefficients on reviews: the first with every proxy, the others with the one of 450 pairs"
    parser.add_argument("--betas", type=float, nargs="+", default=[0.02, 0.1], help=betas)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=60_000, help="of each run on reviews")
    parser.add_argument("--agent", default="rloo", help="that writes on reviews; on letters it is ppo")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="of the processor, after which nothing new is begun"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, help="where proxies of reviews are kept; in --out if left out")
    parser.add_argument("--report", action="store_true", help="do nothing new")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path, start = options.out / LINES, time.process_time()
    done = read(path)
    for name, job in () if options.report else work(options):
        if name in done or time.process_time() - start > 60 * options.minutes:
            continue
        began = time.process_time()
        done[name] = job()
        seconds = round(time.process_time() - began, 1)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "seconds": seconds, "result": done[name]}, ensure_ascii=False) + "\n")
        print(f"{name}: {seconds:.0f} s", flush=True)
    print(machine("torch", "stable-baselines3", "transformers"))
    report(done, options.out)


if __name__ == "__main__":
    main()
