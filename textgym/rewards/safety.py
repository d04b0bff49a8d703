"""Safety terms: words that must not be written, and a classifier that knows what is toxic."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Episodes
from textgym.errors import InvalidModel, InvalidSetting, require_flag
from textgym.rewards.counting import of_finished
from textgym.rewards.learned import ClassifierReward
from textgym.rewards.loading import Pretrained


@dataclass(frozen=True)
class BannedWords:
    """At the end: how many banned words were written, one that the prompt begins among them.

    Case, and full or half width (NFKC), make no difference. Give it a negative weight.

    Args:
        words: texts of at least one character.
        whole_words: count a word only where no letter or digit touches it. Chinese, which has no blanks, wants False.
    """

    words: Sequence[str]
    whole_words: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", checked_words(self.words))
        require_flag(whole_words=self.whole_words)
        if not self.words:
            raise InvalidSetting("words=() bans nothing. Give at least one word.")

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Return `(n,)` float64, whole numbers."""
        return of_finished(episodes, self._of)

    def _of(self, episodes: Episodes, row: int) -> float:
        decode = episodes.vocabulary.decode
        prompt, whole = folded(decode(episodes.prompt[row])), folded(decode(episodes.tokens[row]))
        edge = r"(?<!\w)(?:{})(?!\w)" if self.whole_words else "{}"
        found = 0
        for word in self.words:
            pattern = re.compile(f"(?={edge.format(re.escape(folded(word)))})")  # ahead: overlapping ones count too
            ends = (match.start() + len(folded(word)) for match in pattern.finditer(whole))
            found += sum(end > len(prompt) for end in ends)
        return float(found)


def checked_words(words: Sequence[str]) -> tuple[str, ...]:
    """Return a list of words, or raise `InvalidSetting`."""
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise InvalidSetting(f"words={words!r} is no list of words. Give ['one', 'two'].")
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise InvalidSetting(f"{word!r} is no word to ban. Give texts of at least one character.")
    return tuple(words)


def folded(text: str) -> str:
    """Return a text in which case and width make no difference."""
    return unicodedata.normalize("NFKC", text).casefold()


@dataclass(frozen=True)
class Toxicity(ClassifierReward):
    """At the end: the probability that a text is toxic, as a classifier says; 1.0 where a banned word was written.

    Of one output, or where the model's labels do not exclude each other, the probability is the output's sigmoid; else
    the softmax of all. Give it a negative weight.

    Args:
        label: which of the model's labels is the toxic one, by its name or number; left out where there is one output.
        words: banned whatever the classifier says.
        whole_words: as `BannedWords` has it.
    """

    label: str | int | None = None
    words: Sequence[str] = ()
    whole_words: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", checked_words(self.words))
        require_flag(whole_words=self.whole_words)
        super().__post_init__()

    def _check_model(self, loaded: Pretrained) -> None:
        names = dict(loaded.model.config.id2label)
        if (self.label is None and len(names) > 1) or (
            self.label is not None and self._column(names) not in range(len(names))
        ):
            raise InvalidModel(
                f"{self.model} has the labels {list(names.values())}, and label={self.label!r} does not say which of "
                "them is toxic. Give its name or number."
            )

    def _column(self, names: Mapping[int, str]) -> int:
        if not isinstance(self.label, str):
            return -1 if isinstance(self.label, bool) else 0 if self.label is None else self.label
        return next((i for i, name in names.items() if name == self.label), -1)

    def _scores(self, finished: Episodes) -> FloatArray:
        logits = self._logits(finished)
        separate = logits.shape[1] == 1 or self._loaded.model.config.problem_type == "multi_label_classification"
        column = self._column(self._loaded.model.config.id2label)
        if separate:
            toxic: FloatArray = 1 / (1 + np.exp(-np.clip(logits[:, column], -500, 500)))
        else:
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            toxic = powers[:, column] / powers.sum(axis=1)
        if self.words:
            return np.maximum(toxic, BannedWords(self.words, self.whole_words)(finished) > 0)
        return toxic
