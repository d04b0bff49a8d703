"""Recall: say the value that the prompt gave to a key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting, require_letters, require_natural, require_positive
from textgym.prompts.listed import require_listable
from textgym.rewards import exact_match, key_of
from textgym.task import Task
from textgym.vocabulary import Vocabulary


def recall(keys: str = "abcd", values: str = "0123", facts: int = 3, gap: int = 0) -> Task:
    """Say the value that the prompt gave to a key.

    ## Description
    Associative recall (Graves et al., 2014, "Neural Turing machines", arXiv:1410.5401) in its form of keys and values
    (Ba et al., 2016, "Using fast weights to attend to the recent past", arXiv:1610.06258): after "a1c0b3?c" the
    answer is 0. Memory, without credit assignment: one token is written and paid at once. A gap between facts and
    question sets how long they are to be kept.

    ## Prompts
    `facts` pairs of a key and its value, the keys distinct and in any order, values alike or not; then `gap` times
    "."; then "?" and one of those keys. All such prompts are equally likely. Keys, "." and "?" are prompt-only symbols.

    ## Actions
    One value: `Discrete(len(values))`.

    ## Observation
    `Box(0, pad, (2 * facts + gap + 3,), int32)`: the prompt, then what has been written.

    ## Reward
    1 for the right value, else 0.

    ## Episode end
    Termination: one token.

    ## Arguments
    - `keys`: one symbol each.
    - `values`: one token each.
    - `facts`: pairs in a prompt, no more than there are keys.
    - `gap`: symbols between the facts and the question.

    Raises `InvalidVocabulary` (no keys or values; one that is given twice, that is both, or that is "." or "?"),
    `InvalidSize` (`facts` below 1), `InvalidSetting` (more facts than keys, a gap that is no integer of at least 0).

    ## Version history
    v0: initial version.
    """
    require_letters(keys=keys, values=values)
    require_positive(facts=facts)
    require_natural(gap=gap)
    if facts > len(keys):
        raise InvalidSetting(f"facts={facts} needs as many keys; there are {len(keys)}. Give more, or fewer facts.")
    vocabulary = Vocabulary(tuple(values), symbols=(*keys, ".", "?"))
    prompts = Facts(vocabulary, len(keys), int(facts), int(gap))
    return Task(vocabulary, prompts, exact_match, horizon=1, state_key=key_of(exact_match))


@dataclass(frozen=True)
class Facts:
    """Draws pairs of a key and a value, and asks for one of them.

    Args:
        vocabulary: its tokens are the values, its symbols the keys, the filler and the question mark.
        keys: how many keys there are.
        facts: pairs in a prompt.
        gap: fillers between the pairs and the question.
    """

    vocabulary: Vocabulary
    keys: int
    facts: int
    gap: int

    @property
    def max_length(self) -> int:
        """Two symbols for each pair, the gap, and two for the question."""
        return 2 * self.facts + self.gap + 2

    @property
    def max_target(self) -> int:
        """One value."""
        return 1

    def __call__(self, rng: np.random.Generator) -> Prompt:
        """Return facts and a question."""
        keys = rng.permutation(self.keys)[: self.facts]
        values = rng.integers(self.vocabulary.size, size=self.facts)
        return self._prompt(keys, values, int(rng.integers(self.facts)))

    def support(self) -> tuple[list[Prompt], FloatArray]:
        """Return all prompts and their probabilities, `(k,)`.

        Raises:
            InvalidSetting: there are more than a million.
        """
        size = self.vocabulary.size
        require_listable(math.perm(self.keys, self.facts) * size**self.facts * self.facts)
        prompts = [
            self._prompt(np.array(keys), np.array(values), asked)
            for keys in permutations(range(self.keys), self.facts)
            for values in product(range(size), repeat=self.facts)
            for asked in range(self.facts)
        ]
        return prompts, np.full(len(prompts), 1 / len(prompts))

    def _prompt(self, keys: IntArray, values: IntArray, asked: int) -> Prompt:
        """Return the prompt of keys and their values, `(facts,)` each, that asks for one of them."""
        first = self.vocabulary.size  # the id of the first key; the filler and the question mark follow the last
        filler, question = first + self.keys, first + self.keys + 1
        facts = np.stack([first + keys, values], axis=1).reshape(-1)  # (2 * facts,)
        tail = [filler] * self.gap + [question, first + keys[asked]]
        return Prompt(np.concatenate((facts, tail)).astype(np.int32), values[[asked]].astype(np.int32))
