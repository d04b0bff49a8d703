"""A prompt and a completion by their text, and completions written or scored token by token by a task's own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from textgym import Episodes, Prompt, Task
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidPrompt, InvalidReward, InvalidSetting, InvalidTarget
from textgym.policies import within
from textgym.rendering import ansi

from .probabilities import AgentPolicy

LISTED = 1_000_000  # prompts that are looked through for the one that was asked


def asked(task: Task, text: str) -> tuple[Prompt, bool]:
    """Return the prompt that a text is, and whether its target is known, where the task's prompts have one.

    Raises:
        InvalidPrompt: it has what the vocabulary lacks, or more tokens than prompts have.
    """
    if not isinstance(text, str):
        raise InvalidPrompt(f"prompt={text!r} is no text. Give a string, '' for an empty prompt.")
    try:
        tokens = task.vocabulary.encode(text)
    except InvalidTarget as error:
        raise InvalidPrompt(f"prompt {text!r} cannot be read: {error}") from error
    if len(tokens) > task.max_prompt:
        raise InvalidPrompt(
            f"prompt {text!r} has {len(tokens)} tokens, and this environment's prompts have {task.max_prompt} at most. "
            f"Give {'a shorter one' if task.max_prompt else 'none: it asks nothing'}."
        )
    for prompt in _listed(task):
        if np.array_equal(prompt.tokens, tokens):
            return prompt, True
    return Prompt(tokens, np.zeros(0, np.int32)), not task.prompts.max_target


def _listed(task: Task) -> Sequence[Prompt]:
    """Return the prompts that a task can ask, where they can be listed."""
    if not hasattr(task.prompts, "support") or getattr(task.prompts, "count", 0) > LISTED:
        return ()
    try:
        found: Sequence[Prompt] = task.prompts.support()[0]
    except (InvalidSetting, MemoryError):
        return ()
    return found


def given(task: Task, text: str) -> IntArray:
    """Return the tokens of a completion, with the end token behind it where the vocabulary has one and it finds room.

    Raises:
        InvalidTarget: it has what cannot be written.
        InvalidSetting: it is empty or longer than the horizon.
    """
    if not isinstance(text, str):
        raise InvalidSetting(f"completion={text!r} is no text. Give a string.")
    vocabulary = task.vocabulary
    tokens = vocabulary.encode(text)
    for token in tokens.tolist():
        if token >= vocabulary.size:
            raise InvalidTarget(f"completion {text!r} has {vocabulary.show(token)!r}, which stands in prompts only.")
    if len(tokens) > task.horizon:
        raise InvalidSetting(
            f"completion {text!r} has {len(tokens)} tokens, and the horizon is {task.horizon}. Give a shorter one."
        )
    eos = vocabulary.eos_id
    if eos is not None and len(tokens) < task.horizon and eos not in tokens:
        tokens = np.append(tokens, np.int32(eos))
    if not len(tokens):
        raise InvalidSetting("completion='' has no token to look at, and this environment has no end token. Give some.")
    return tokens


def write(agent: Any, task: Task, prompts: Sequence[Prompt], greedy: bool, seed: int) -> Episodes:
    """Let an agent write a completion of each prompt, side by side, and return the finished rows.

    What is sampled is drawn from what the agent says of its actions, by chance of its own: the agent's is not touched.

    Args:
        agent: what `AgentPolicy` takes.
        task: the rules; its reward is not asked.
        prompts: n of them.
        greedy: take the likeliest token.
        seed: of the draws.
    """
    policy, rng, silent = AgentPolicy(agent, greedy), np.random.default_rng(seed), _unpaid(task)
    rows = task.blank(len(prompts))
    rows.begin(..., list(prompts))
    while (going := np.flatnonzero(~rows.finished)).size:
        part = rows.take(going)
        p = within(policy, part.tokens, task.action_mask(part)).cumsum(axis=1)  # (k, size), rising to 1
        reached = p > rng.random((len(going), 1)) * p[:, -1:]
        silent.step(part, reached.argmax(axis=1))
        rows.put(going, part)
    return rows


@dataclass(frozen=True)
class Scored:
    """A completion by a task's rules.

    Args:
        rows: the one row, all of it written.
        rewards: `(T,)` float64; None where they are not known.
        parts: what each reward is made of, `(T,)` each.
        metrics: facts of a row that has ended.
        masks: `(T + 1, size)` bool, the actions worth taking before each token, and after the last; None for all.
    """

    rows: Episodes
    rewards: FloatArray | None
    parts: Mapping[str, FloatArray]
    metrics: Mapping[str, float]
    masks: BoolArray | None

    @property
    def text(self) -> str:
        """Prompt and completion, as the environment shows them."""
        return ansi(self.rows, 0)


def score(task: Task, prompt: Prompt, completion: IntArray, known: bool = True) -> Scored:
    """Write a completion token by token, and return what each earns.

    Where the task's reward has a method `parts(episodes) -> {name: (n,)}`, that is asked after each token, too.

    Args:
        task: the rules.
        prompt: what is asked.
        completion: `(T,)` the tokens.
        known: whether the prompt's target is known; without it there are no rewards.

    Raises:
        InvalidSetting: the task ends the row before its last token.
        InvalidPrompt: the task cannot score completions of this prompt.
    """
    rules = task if known else _unpaid(task)
    rows, rewards, parts, masks = task.blank(1), [], [], []
    rows.begin(..., [prompt])
    for place, token in enumerate(completion.tolist()):
        if rows.finished[0]:
            raise InvalidSetting(
                f"the environment ends this completion after {place} of its {len(completion)} tokens, as "
                f"{ansi(rows, 0)!r}. Give those alone."
            )
        masks.append(task.action_mask(rows)[0])
        try:
            rewards.append(rules.step(rows, np.array([token]))[0])
            parts.append(_parts(rules, rows))
        except (InvalidReward, InvalidSetting):
            raise
        except Exception as error:  # a task's own code, on a prompt that its generator might never draw
            raise InvalidPrompt(f"this environment cannot score {ansi(rows, 0)!r}: {error!r}.") from error
    masks.append(masks[-1] if rows.finished[0] else task.action_mask(rows)[0])
    metrics = rules.measure(rows) if rows.finished[0] else {}
    return Scored(
        rows,
        np.array(rewards) if known else None,
        {name: np.array([part[name] for part in parts]) for name in (parts[0] if known else {})},
        {name: float(values[0]) for name, values in metrics.items()},
        None if task.mask is None else np.stack(masks),
    )


def _parts(task: Task, rows: Episodes) -> dict[str, float]:
    said = getattr(task.reward, "parts", None)
    found = {} if said is None else said(rows)
    parts = {str(name): np.asarray(values, np.float64) for name, values in found.items()}
    for name, values in parts.items():
        if values.shape != (len(rows),) or not np.isfinite(values).all():
            raise InvalidReward(f"part {name!r} of the reward gave {values!r}; it must give a finite number a row.")
    return {name: float(values[0]) for name, values in parts.items()}


def _unpaid(task: Task) -> Task:
    return replace(task, reward=_nothing, metrics={})


def _nothing(episodes: Episodes) -> FloatArray:
    return np.zeros(len(episodes))
