"""Consultation: an adviser who is asked once about each text, and whose failures are counted, never felt."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from textgym.errors import InvalidAdvice, InvalidSetting, require_positive

Advisor: TypeAlias = Callable[[list[str]], Sequence[str | None]]
"""From descriptions of states to what is advised in each: one text a text; None or an empty one is no guidance."""

GIVES_UP = 20  # failures in a row


class Consultation:
    """Asks an adviser, and remembers what was said about each text, so that learning does not wait for it.

    An adviser that raises, or says None, gives no guidance: the failure is counted and its text asked about again when
    it comes again. After 20 failures in a row nobody is asked any more, so that a dead endpoint does not cost its time
    limit at every step.

    Args:
        advisor: a function from a list of texts to a list of as many texts.
        largest: texts that are remembered; beyond it the oldest are forgotten.
        understood: whether an advice is of use; those that are not are counted. None for whatever is said.

    Raises:
        InvalidSetting: that is no function.

    Attributes:
        counts: how many texts were `asked` about in all, `remembered`, handed to the adviser (`consulted`), and how
            many of those `failed` (it raised, said None or has been given up), met silence (`silent`) or words that
            are of no use (`unclear`: they name no action, say, where the reward pays for the advised one).
    """

    def __init__(
        self, advisor: Advisor, largest: int = 1_000_000, understood: Callable[[str], bool] | None = None
    ) -> None:
        if not callable(advisor):
            raise InvalidSetting(
                f"{advisor!r} is no adviser. Give a function from a list of texts to as many texts, or a name: see "
                "textgym.advising.ADVISORS."
            )
        require_positive(largest=largest)
        self.advisor, self.largest, self.understood = advisor, largest, understood
        self.counts = dict.fromkeys(("asked", "remembered", "consulted", "failed", "silent", "unclear"), 0)
        self._said: dict[str, str] = {}
        self._failed_in_a_row = 0

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Return what is advised in each state; "" where nothing is.

        Raises:
            InvalidAdvice: the adviser did not give one text a text, which no time limit explains.
        """
        self.counts["asked"] += len(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._said]
        self.counts["remembered"] += len(texts) - len(new)
        answers = dict(zip(new, self._consult(new))) if new else {}
        said = [self._said[text] if text in self._said else answers[text] or "" for text in texts]
        self._said.update((text, answer) for text, answer in answers.items() if answer is not None)
        while len(self._said) > self.largest:
            del self._said[next(iter(self._said))]
        return said

    def _consult(self, texts: list[str]) -> list[str | None]:
        """Return the adviser's own words; None where it failed."""
        nothing: list[str | None] = [None] * len(texts)
        if self._failed_in_a_row >= GIVES_UP:
            self.counts["failed"] += len(texts)
            return nothing
        self.counts["consulted"] += len(texts)
        try:
            answers: Any = self.advisor(list(texts))
        except Exception as error:  # whatever it is, the environment goes on without guidance
            self._note_failure(f"{type(error).__name__}: {error}")
            self.counts["failed"] += len(texts)
            return nothing
        if isinstance(answers, str) or not isinstance(answers, Sequence) or len(answers) != len(texts):
            raise InvalidAdvice(
                f"the adviser was asked about {len(texts)} texts and gave {answers!r}. It must return a list of as "
                'many texts, "" for those on which it has nothing to say.'
            )
        for answer in answers:
            if answer is not None and not isinstance(answer, str):
                raise InvalidAdvice(f'the adviser gave {answer!r}, which is no text. Give a str, "" for nothing.')
        failed = sum(answer is None for answer in answers)
        self.counts["failed"] += failed
        said = [answer for answer in answers if answer is not None and answer.strip()]
        self.counts["silent"] += len(answers) - failed - len(said)
        if self.understood is not None:
            self.counts["unclear"] += sum(not self.understood(answer) for answer in said)
        if failed == len(answers):
            self._note_failure("it said None to all")
        else:
            self._failed_in_a_row = 0
        return list(answers)

    def _note_failure(self, reason: str) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row == GIVES_UP:
            warnings.warn(
                f"the adviser failed {GIVES_UP} times in a row and is not asked any more; learning goes on without "
                f"guidance. The last failure: {reason}",
                RuntimeWarning,
                stacklevel=2,
            )
