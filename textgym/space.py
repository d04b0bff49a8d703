"""TokenBox: the observation space of a row of tokens."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces


class TokenBox(spaces.Box):
    """`Box(0, pad, (max_prompt + horizon,), int32)` that knows where the prompt ends and the completion begins.

    An integer Box, since SB3 one-hot-encodes `MultiDiscrete` and refuses `Text`. A network needs the boundary: a row
    that was asked "a" and has written "b" holds the same tokens, in the same order, as one that was asked "ab". A
    pretrained network needs the tokens' text, too.

    Args:
        pad: the id that stands where no token does; all other ids are below it.
        max_prompt: columns of the prompt, right-aligned.
        horizon: columns of the completion, left-aligned.
        pieces: the tokens and symbols by their ids, for a network that knows tokens by their text; empty where nobody
            says.
        eos: which of them ends a text; None for none.
        action_words: where actions are no tokens of the row, how each is written behind it, in their order; empty where
            nobody says. None where the actions are the tokens.
    """

    def __init__(
        self,
        pad: int,
        max_prompt: int,
        horizon: int,
        pieces: tuple[str, ...] = (),
        eos: str | None = None,
        action_words: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(0, pad, (max_prompt + horizon,), np.int32)
        self.max_prompt, self.pieces, self.eos, self.action_words = max_prompt, pieces, eos, action_words

    def __eq__(self, other: object) -> bool:
        boundary = getattr(other, "max_prompt", self.max_prompt)  # a plain Box says nothing about it
        return super().__eq__(other) and boundary == self.max_prompt
