"""Arithmetic: write the sum of two numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Prompt
from textgym.errors import Names, require_between, require_tokens
from textgym.prompts.listed import require_listable
from textgym.rewards import REWARDS, key_of
from textgym.task import Task
from textgym.vocabulary import Vocabulary

ORDERS: Names[int] = Names("order", forward=1, reversed=-1)  # the step in which a sum's digits are read


def arithmetic(digits: int = 2, base: int = 10, order: str = "forward", reward: str = "shaped") -> Task:
    """Write the sum of two numbers, then the end token.

    ## Description
    Addition as text: "17+5=" asks for "22$". Written forward, the first digit depends on all carries, so on every
    digit of both numbers. Written reversed ("62+55=" asks for "711$"), each digit depends on two digits and one
    carry, which a causal writer learns sooner (Lee et al., 2023, "Teaching arithmetic to small transformers",
    arXiv:2307.03381).

    ## Prompts
    Two numbers, each uniform in 0 .. base**digits - 1, without leading zeros, with "+" between them and "=" behind,
    which are prompt-only symbols.

    ## Actions
    One digit, or the end token `$`: `Discrete(base + 1)`.

    ## Observation
    `Box(0, pad, (3 * digits + 4,), int32)`: the prompt, right-aligned, in `2 * digits + 2` columns, then what has
    been written.

    ## Reward
    By name: `shaped` (1/len(target) for each token of a faultless beginning; the end token counts), `token`,
    `terminal`.

    ## Episode end
    Termination: the end token, or `digits + 2` tokens.

    ## Arguments
    - `digits`: the most digits of a number in the prompt.
    - `base`: of the numbers, 2 to 10.
    - `order`: of the sum's digits: `forward`, or `reversed`, the least significant first.
    - `reward`: `shaped`, `token` or `terminal`.

    Raises `InvalidSize` (`digits` below 1), `InvalidSetting` (another base), `UnknownName` (an order or a reward that
    does not exist).

    ## Version history
    v0: initial version.
    """
    require_tokens(digits=digits)
    require_between(2, 10, base=base)
    vocabulary = Vocabulary(tuple("0123456789"[:base]), symbols=("+", "="), eos="$")
    paid = REWARDS[reward]
    prompts = Additions(vocabulary, int(digits), int(base), ORDERS[order])
    return Task(vocabulary, prompts, paid, horizon=prompts.max_target, state_key=key_of(paid))


@dataclass(frozen=True)
class Additions:
    """Draws two numbers; the target is their sum and the end token.

    Args:
        vocabulary: digits, whose ids are their values, then "+", "=" and the end token.
        digits: the most of a number.
        base: of the numbers.
        step: 1 where the sum is written from its first digit on, -1 where from its last.
    """

    vocabulary: Vocabulary
    digits: int
    base: int
    step: int

    @property
    def max_length(self) -> int:
        """Two numbers and two symbols."""
        return 2 * self.digits + 2

    @property
    def max_target(self) -> int:
        """The digits of the largest sum, one more than those of the numbers, and the end token."""
        return self.digits + 2

    def __call__(self, rng: np.random.Generator) -> Prompt:
        """Return two numbers and their sum."""
        drawn = (rng.random(2 * self.digits) * self.base).astype(np.int64).tolist()
        return self._prompt(self._number(drawn[: self.digits]), self._number(drawn[self.digits :]))

    def support(self) -> tuple[list[Prompt], FloatArray]:
        """Return all prompts, by the first number and then by the second, and their probabilities, `(k,)`.

        Raises:
            InvalidSetting: there are more than a million.
        """
        many = self.base**self.digits
        require_listable(many**2)
        prompts = [self._prompt(first, second) for first in range(many) for second in range(many)]
        return prompts, np.full(len(prompts), 1 / len(prompts))

    def _prompt(self, first: int, second: int) -> Prompt:
        plus, equals, end = (self.vocabulary.ids[piece] for piece in "+=$")
        asked = [*self._numeral(first), plus, *self._numeral(second), equals]
        answer = [*self._numeral(first + second)[:: self.step], end]
        return Prompt(np.array(asked, np.int32), np.array(answer, np.int32))

    def _number(self, numeral: list[int]) -> int:
        """Return the number of which these are the digits; leading zeros count for nothing."""
        number = 0
        for digit in numeral:
            number = number * self.base + digit
        return number

    def _numeral(self, number: int) -> list[int]:
        """Return the digits of a number, the most significant first."""
        numeral = [number % self.base]
        while number := number // self.base:
            numeral.append(number % self.base)
        return numeral[::-1]
