"""What texts are like, without knowing what they should be: diversity, repetition, length, entropy.

A text is a sequence of tokens: ids, or words; a string is the sequence of its characters, so that Chinese needs no
cutting and English wants `text.split()`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeAlias

from textgym.errors import require_positive

Texts: TypeAlias = Sequence[Sequence[Hashable]]


def ngrams(text: Sequence[Hashable], n: int) -> Iterator[tuple[Hashable, ...]]:
    """Yield the n tokens that begin at each place of a text; none where it is shorter."""
    return (tuple(text[i : i + n]) for i in range(len(text) - n + 1))


def distinct(texts: Texts, n: int = 1) -> float | None:
    """Return distinct-n (Li et al., 2016, "A diversity-promoting objective function", section 5.1).

    The number of different n-grams in all texts together, divided by the number of their tokens. (Others divide by the
    number of n-grams, which is smaller by n - 1 a text.) It falls as texts become more: compare equal numbers of texts.

    Returns:
        From 0 to 1; None where there is no token.
    """
    require_positive(n=n)
    tokens = sum(map(len, texts))
    return len({gram for text in texts for gram in ngrams(text, n)}) / tokens if tokens else None


def repetition(texts: Texts, n: int = 4) -> float | None:
    """Return the share of a text's n-grams that it had before: 1 - different n-grams / n-grams, averaged over texts.

    It is seq-rep-n of Welleck et al. (2020, "Neural text generation with unlikelihood training", section 6), whose n
    is 4.

    Returns:
        From 0 to below 1; None where no text has n tokens, for such a text does not count.
    """
    require_positive(n=n)
    counts = [Counter(ngrams(text, n)) for text in texts if len(text) >= n]
    return sum(1 - len(count) / count.total() for count in counts) / len(counts) if counts else None


def length(texts: Texts) -> float | None:
    """Return the mean number of tokens; None where there is no text."""
    return sum(map(len, texts)) / len(texts) if texts else None


def entropy(texts: Texts, n: int = 1) -> float | None:
    """Return the entropy of the distribution of n-grams in all texts together, in nats: -sum_g p(g) ln p(g).

    With n > 1 it is Ent-n of Zhang et al. (2018, "Generating informative and diverse conversational responses via
    adversarial information maximization").

    Returns:
        From 0, where all n-grams are one, to the logarithm of their number; None where there is none.
    """
    require_positive(n=n)
    counts = Counter(gram for text in texts for gram in ngrams(text, n))
    total = counts.total()
    return math.fsum(-k / total * math.log(k / total) for k in counts.values()) if total else None
