"""Preferences made of what there is: labelled text, text and its corruption, samples of a policy and a reward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from textgym import Episodes, Task
from textgym.arrays import FloatArray, IntArray
from textgym.errors import (
    InvalidSetting,
    Names,
    require_flag,
    require_natural,
    require_positive,
    require_share,
)
from textgym.rollouts import Writer
from textgym.task import Reward
from textgym.vocabulary import WORDS

from .evaluation import finish
from .preferences import Preference
from .table import Agent
from .texts import given_texts

Units: TypeAlias = list[str]
Corruption: TypeAlias = Callable[[Units, np.random.Generator], Units]

TRIES = 8  # at a corruption that changes a text
PAIRS = 1024  # that are written side by side
ROUNDS = 100  # of writing, before a policy whose samples are alike is given up


def from_labels(
    positive: Iterable[str], negative: Iterable[str], *, per_text: int = 1, seed: int = 0
) -> list[Preference]:
    """Return pairs of a positive text, chosen, and a negative one, rejected, drawn at random; prompts are empty.

    Texts are paired in groups of `per_text` positive and as many negative ones, each with each, so that a held-out part
    can be cut off between groups. Duplicates are taken once; a text that is both positive and negative, and what is
    left of the larger class, are left out.

    Args:
        positive: texts.
        negative: texts.
        per_text: the pairs that a text stands in.
        seed: of the pairing.

    Raises:
        InvalidSetting: one is no text; a class has fewer than `per_text` of its own.
    """
    require_positive(per_text=per_text)
    require_natural(seed=seed)
    rng = np.random.default_rng(seed)
    classes = [dict.fromkeys(_strings(texts)) for texts in (positive, negative)]
    good, bad = ([text for text in texts if text not in other] for texts, other in (classes, classes[::-1]))
    n = min(len(good), len(bad)) // per_text * per_text
    if not n:
        raise InvalidSetting(
            f"{len(good)} positive and {len(bad)} negative texts, once duplicates and texts of both classes are left "
            f"out, make no pair with per_text={per_text}. Give more of both."
        )
    good, bad = ([texts[i] for i in rng.permutation(len(texts))[:n]] for texts in (good, bad))
    return [
        Preference("", (good[first + i], bad[first + (i + turn) % per_text]))
        for first in range(0, n, per_text)
        for i in range(per_text)
        for turn in range(per_text)
    ]


def _strings(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InvalidSetting(f"{texts!r} is no list of texts.")
    found = list(texts)
    for number, text in enumerate(found, 1):
        if not isinstance(text, str) or not text:
            raise InvalidSetting(f"text {number} is {text!r}. Give strings of at least one character.")
    return found


def shuffled(units: Units, rng: np.random.Generator) -> Units:
    """Return a text's units in random order."""
    return [units[i] for i in rng.permutation(len(units))]


def truncated(units: Units, rng: np.random.Generator) -> Units:
    """Return a text's beginning, from one unit to all but one."""
    return units[: int(rng.integers(1, max(2, len(units))))]


def repeated(units: Units, rng: np.random.Generator) -> Units:
    """Return a text that gets stuck: at some place it says the last units, at most half of all, again to its end.

    It is as long as the text was, so that length does not give it away.
    """
    if len(units) < 2:
        return units
    end = int(rng.integers(1, len(units)))
    piece = units[end - int(rng.integers(1, min(end, len(units) // 2) + 1)) : end]
    return (units[:end] + piece * len(units))[: len(units)]


CORRUPTIONS: Names[Corruption] = Names("corruption", shuffled=shuffled, truncated=truncated, repeated=repeated)


def from_corruption(
    texts: Iterable[str | tuple[str, str]],
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    *,
    words: bool = False,
    seed: int = 0,
) -> list[Preference]:
    """Return pairs of a text, chosen, and what a corruption made of it, rejected: one pair a text.

    Args:
        texts: strings, or pairs of a prompt and a completion, of which the completion is corrupted. Duplicates are
            taken once.
        corruptions: of CORRUPTIONS; each pair's is drawn evenly. A text that none of them changes is left out.
        words: whether words are moved, which blanks part; else characters.
        seed: of the drawing.

    Raises:
        UnknownName: there is no such corruption.
        InvalidSetting: one is no text; no text can be corrupted.
    """
    require_flag(words=words)
    require_natural(seed=seed)
    if isinstance(corruptions, str) or not corruptions:
        raise InvalidSetting(f"corruptions={corruptions!r} is no list of names: {', '.join(CORRUPTIONS)}.")
    known, rng = [CORRUPTIONS[name] for name in corruptions], np.random.default_rng(seed)
    found = []
    for prompt, completion in dict.fromkeys(sample[:2] for sample in given_texts(texts)):
        units, blank = (completion.split(), " ") if words else (list(completion), "")
        for i in rng.permutation(len(known)) if units else ():
            if (worse := _changed(known[i], units, rng)) is not None:
                found.append(Preference(prompt, (blank.join(units), blank.join(worse))))
                break
    if not found:
        raise InvalidSetting(f"none of the texts is changed by {', '.join(corruptions)}. Give longer ones.")
    return found


def _changed(corruption: Corruption, units: Units, rng: np.random.Generator) -> Units | None:
    """Return a text corrupted; None where it stays as it is."""
    tries = (corruption(units, rng) for _ in range(TRIES))
    return next((worse for worse in tries if worse != units), None)


def from_policy(
    policy: Agent | Writer,
    task: Task,
    n: int,
    *,
    reward: Reward | None = None,
    noise: float = 0.0,
    margins: bool = False,
    distinct: bool = True,
    seed: int = 0,
) -> list[Preference]:
    """Return pairs of completions that a policy samples for one prompt; the one with the higher return is chosen.

    Two samples that are the same text, or earn the same, make no pair.

    Args:
        policy: anything with `predict`, whose sampling draws from its own chance; or a writer of `textgym.rollouts`,
            as `write_random`.
        task: whose prompts, ends and masks.
        n: how many pairs.
        reward: what judges, step by step; None for the task's own.
        noise: the probability with which a pair's label is wrong.
        margins: whether pairs say by how much the returns differ.
        distinct: whether each text stands in one pair at most, so that any pair can be held out.
        seed: of prompts, noise and a writer.

    Raises:
        InvalidSetting: the samples are too much alike.
        InvalidReward: the reward gave something that is none.
    """
    require_positive(n=n)
    require_share(noise=noise)
    require_flag(margins=margins, distinct=distinct)
    require_natural(seed=seed)
    if not isinstance(task, Task):
        raise InvalidSetting(f"task={task!r} is no task. Give textgym.load_task(ID).")
    if not callable(policy) and not hasattr(policy, "predict"):
        raise InvalidSetting(f"policy={policy!r} has no predict. Give an agent, or a writer such as write_random.")
    judged = task if reward is None else replace(task, reward=reward, mean_reward=None)
    rng = np.random.default_rng(seed)
    found, seen, tried = list[Preference](), set[str](), 0
    for _ in range(ROUNDS):
        rows, returns = _two_each(policy, judged, min(PAIRS, max(16, n - len(found))), rng)
        for first in range(0, len(rows), 2):
            flip = rng.random() < noise  # drawn for every pair, so that one pair's fate does not move another's
            tried += 1
            pair = _judged(rows, returns, first, flip, margins)
            if pair is not None and not (distinct and seen & {*pair.texts}):
                seen |= {*pair.texts}
                found.append(pair)
        if len(found) >= n:
            return found[:n]
    alike = " and in no earlier pair (distinct=False takes them again)" if distinct else ""
    raise InvalidSetting(
        f"of {tried} pairs of samples only {len(found)} are of two texts with two returns{alike}; n={n} were asked "
        "for. Give a smaller n, or a policy that writes more variously."
    )


def _two_each(policy: Any, task: Task, pairs: int, rng: np.random.Generator) -> tuple[Episodes, FloatArray]:
    """Return `2 * pairs` finished episodes, two neighbours of each prompt, and their returns."""
    rows = task.blank(2 * pairs)
    rows.begin(..., [prompt for prompt in task.draw([rng] * pairs) for _ in range(2)])
    if hasattr(policy, "predict"):
        return rows, finish(policy, task, rows, deterministic=False)
    returns = np.zeros(len(rows))
    while (going := np.flatnonzero(~rows.finished)).size:
        part = rows.take(going)
        actions: IntArray = policy(task, part, rng)
        returns[going] += task.step(part, actions)
        rows.put(going, part)
    return rows, returns


def _judged(rows: Episodes, returns: FloatArray, first: int, flip: bool, margins: bool) -> Preference | None:
    """Return two neighbours as a pair; None where they are the same text, earn the same, or one lacks a score."""
    decode, apart = rows.vocabulary.decode, float(abs(returns[first] - returns[first + 1]))
    prompt, *texts = decode(rows.prompt[first]), rows.text(first), rows.text(first + 1)
    if rows.vocabulary.codec is WORDS and prompt:  # a blank parts words, also these
        texts = [f" {text}" if text else "" for text in texts]
    if not apart > 0 or texts[0] == texts[1] or not all(prompt + text for text in texts):
        return None
    if (returns[first] < returns[first + 1]) != flip:
        texts.reverse()
    return Preference(prompt, tuple(texts), apart if margins else None)
