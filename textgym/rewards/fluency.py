"""Fluency: how likely a reference language model would have been to write a finished text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Episodes
from textgym.errors import InvalidModel
from textgym.rewards.learned import ModelReward
from textgym.rewards.loading import Pretrained
from textgym.vocabulary import Vocabulary


@dataclass(frozen=True)
class Fluency(ModelReward):
    """The mean log-probability of a finished completion's tokens after its prompt, in nats, at most 0.

    Tokens are the model's own, of prompt and completion cut apart; its begin token, where it has one, stands before
    them. Where a row wrote the end token, the model's own is one more token to write: an empty text is as fluent as the
    model finds it to stop there. A text of which nothing can be judged (empty, of a model without an end token) is
    worth what a uniform choice is, -log(vocabulary); 0.0 would be the best there is.

    Args:
        model: a causal language model's folder or name, as `AutoModelForCausalLM` loads it.
    """

    kind: ClassVar[str] = "language model"

    def _check_model(self, loaded: Pretrained) -> None:
        if not hasattr(loaded.model.config, "vocab_size"):
            raise InvalidModel(f"{self.model} is no language model of text: its config has no vocab_size.")

    def _scores(self, finished: Episodes) -> FloatArray:
        if finished.vocabulary is not self._memory.vocabulary:
            self._check_vocabulary(finished.vocabulary)
        tokenizer = self._loaded.tokenizer
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        stopped = finished.newest == finished.vocabulary.eos_id
        rows: list[list[int]] = []
        judged: list[int] = []  # how many tokens at the end of each row
        for prompt, completion, over in zip(finished.prompt, finished.completion, stopped):
            before = ([] if begin is None else [begin]) + self._ids(finished.vocabulary.decode(prompt))
            written = self._ids(finished.vocabulary.decode(completion)) + ([end] if over and end is not None else [])
            self._check_length(len(before) + len(written), finished.vocabulary.decode(prompt))
            rows.append(before + written)
            judged.append(len(written) if before else max(0, len(written) - 1))  # the first has nothing before it
        return self._means(rows, judged)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._loaded.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return ids

    def _means(self, rows: list[list[int]], judged: list[int]) -> FloatArray:
        """Return the mean log-probabilities of the last tokens of rows of ids, `(n,)`."""
        import torch

        means = np.full(len(rows), -math.log(self._loaded.model.config.vocab_size))
        for numbers, width in self._batches(rows):
            ids = self._tensor([rows[i] for i in numbers], width, self._loaded.tokenizer.pad_token_id)
            mask = self._tensor([[1] * len(rows[i]) for i in numbers], width, 0)
            with torch.inference_mode():
                logits = self._loaded.model(input_ids=ids, attention_mask=mask).logits[:, :-1]  # (k, width - 1, V)
                logs = logits.double().log_softmax(dim=2).gather(2, ids[:, 1:, None])[:, :, 0].cpu().numpy()
            for log, i in zip(logs, numbers):
                if judged[i]:
                    means[i] = log[len(rows[i]) - 1 - judged[i] : len(rows[i]) - 1].mean()
        return means

    def _check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Raise `InvalidModel` where the model's tokenizer has no ids for a token that a task writes."""
        unknown: Any = self._loaded.tokenizer.unk_token_id
        for i, token in enumerate(vocabulary.tokens):
            if token == vocabulary.eos or not (text := vocabulary.show(i)):
                continue
            if not (ids := self._ids(text)) or (unknown is not None and unknown in ids):
                raise InvalidModel(
                    f"{self.model} has another vocabulary than the task: its tokenizer does not know {text!r}. Give a "
                    "reference that was trained on the task's tokens, or one with a byte-level tokenizer."
                )
