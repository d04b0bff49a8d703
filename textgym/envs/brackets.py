"""Brackets: complete the beginning of a well-formed bracket word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.ends import wrote_eos
from textgym.episodes import Episodes, Prompt
from textgym.errors import InvalidSetting, require_between, require_flag, require_tokens
from textgym.prompts import ListedPrompts
from textgym.task import Task
from textgym.vocabulary import Vocabulary

PAIRS = ("()", "[]", "{}", "<>")
MOST_BEGINNINGS = 100_000  # the task holds them all


def brackets(kinds: int = 2, max_prompt: int = 4, horizon: int | None = None, mask: bool = True) -> Task:
    """Complete a bracket word so that every bracket is closed, then the end token.

    ## Description
    The prompt is the beginning of a well-formed word of brackets (a Dyck word). The agent must close what is open, the
    innermost first, and may open more: many completions are right, and a policy must keep a stack.

    ## Prompts
    All beginnings of 1 to `max_prompt` brackets that can be completed within the horizon, equally likely. Some are
    complete already: the end token alone is then right.

    ## Actions
    An opening and a closing bracket of each kind, of ()[]{}<> in this order, or the end token `$`:
    `Discrete(2 * kinds + 1)`. The mask leaves out closing brackets but that of the innermost open one. It bars no
    right completion, and still lets a writer end too early or open too many.

    ## Observation
    `Box(0, pad, (max_prompt + horizon,), int32)`: the prompt, right-aligned, then what has been written.

    ## Reward
    1 with the end token if prompt and completion together are well formed, else 0.

    ## Episode end
    Termination: the end token, or `horizon` tokens. `is_success` is what the reward is.

    ## Arguments
    - `kinds`: of brackets, 1 to 4.
    - `max_prompt`: the most brackets of a prompt.
    - `horizon`: the most tokens, the end token among them; `max_prompt + 3`, if left out, which leaves two brackets
      free where all of the longest prompt are open.
    - `mask`: whether the mask is on. After a wrong closing bracket, which environments accept, it leaves everything.

    Raises `InvalidSize` (`max_prompt` or `horizon` below 1), `InvalidSetting` (more kinds than there are, a mask that
    is no truth value, a horizon that completes no prompt, more than 100,000 beginnings, words whose open
    brackets need more than 64 bits: `max_prompt + horizon` is at most 61 with two kinds, 38 with three, 30 with four).

    ## Version history
    v0: initial version.
    """
    require_between(1, len(PAIRS), kinds=kinds)
    require_tokens(max_prompt=max_prompt)
    horizon = max_prompt + 3 if horizon is None else horizon
    require_tokens(horizon=horizon)
    require_flag(mask=mask)
    if (max_prompt + horizon + 1) * math.log2(kinds) >= 63:
        raise InvalidSetting(
            f"max_prompt={max_prompt} and horizon={horizon} make words of {max_prompt + horizon} tokens, whose open "
            f"brackets, of kinds={kinds}, need more than 64 bits. Give fewer tokens, or fewer kinds."
        )
    vocabulary = Vocabulary(tuple("".join(PAIRS[:kinds])), eos="$")
    words = beginnings(PAIRS[:kinds], max_prompt)
    asked = [(vocabulary.encode(word), [*vocabulary.encode(rest), vocabulary.size - 1]) for word, rest in words.items()]
    prompts = tuple(Prompt(word, np.array(end, np.int32)) for word, end in asked if len(end) <= horizon)
    if not prompts:
        raise InvalidSetting(f"horizon={horizon} cannot complete a prompt of {max_prompt} bracket. Give 2 or more.")
    stack = Stack(int(kinds))
    return Task(
        vocabulary,
        ListedPrompts(prompts),
        reward=WellFormed(stack),
        horizon=horizon,
        metrics={"success": WellFormed(stack)},
        mask=Closable(stack) if mask else None,
        state_key=stack,
    )


def beginnings(pairs: Sequence[str], longest: int) -> dict[str, str]:
    """Return all beginnings of 1 to `longest` brackets, shorter ones first, each with its shortest completion.

    Raises:
        InvalidSetting: there are more than 100,000.
    """
    found: dict[str, str] = {}
    words = {"": ""}
    for _ in range(longest):
        opened = {word + pair[0]: pair[1] + rest for word, rest in words.items() for pair in pairs}
        words = opened | {word + rest[0]: rest[1:] for word, rest in words.items() if rest}
        found |= words
        if len(found) > MOST_BEGINNINGS:
            raise InvalidSetting(
                f"kinds={len(pairs)} and max_prompt={longest} make more than the {MOST_BEGINNINGS:,} beginnings that a "
                "task holds. Give a lower max_prompt, or fewer kinds."
            )
    return found


@dataclass(frozen=True)
class Stack:
    """The open brackets of prompt and completion, as one integer: all that matters for what is to come.

    It is 0 where none is open. Opening kind k makes s into `kinds * s + k + 1`, so that each stack has one number
    (bijective numeration); -1 stands for a word that nothing can complete, since a wrong bracket was closed in it.
    """

    kinds: int

    def __call__(self, episodes: Episodes) -> IntArray:
        """Return `(n,)` int64."""
        stack = np.zeros(len(episodes), np.int64)
        for column in range(episodes.max_prompt + episodes.longest):
            token = episodes.tokens[:, column]
            kind = token // 2  # `kinds` or more: the end token, or a pad, which change nothing
            opens, closes = token % 2 == 0, token % 2 == 1
            top = self.innermost(stack)
            after = np.where(opens, self.kinds * stack + kind + 1, (stack - 1) // self.kinds)
            after = np.where(closes & (kind != top), -1, after)
            stack = np.where((kind < self.kinds) & (stack >= 0), after, stack)
        return stack

    def innermost(self, stack: IntArray) -> IntArray:
        """Return the kind of the innermost open bracket, `(n,)`; -1 where none is open."""
        return np.where(stack > 0, (stack - 1) % self.kinds, -1)


@dataclass(frozen=True)
class WellFormed:
    """Whether the end token stands behind a word in which every bracket is closed."""

    stack: Stack

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64."""
        paid = np.zeros(len(episodes))
        ended = np.flatnonzero(wrote_eos(episodes))
        if len(ended):
            paid[ended] = self.stack(episodes.take(ended)) == 0
        return paid


@dataclass(frozen=True)
class Closable:
    """The mask: every token but closing brackets that do not fit the innermost open one."""

    stack: Stack

    def __call__(self, episodes: Episodes) -> BoolArray:
        """Return `(n, size)` bool."""
        stack, kinds = self.stack(episodes), self.stack.kinds
        allowed = np.ones((len(episodes), 2 * kinds + 1), np.bool_)
        fits = self.stack.innermost(stack)[:, None] == np.arange(kinds)  # (n, kinds)
        allowed[:, 1 : 2 * kinds : 2] = fits | (stack < 0)[:, None]
        return allowed
