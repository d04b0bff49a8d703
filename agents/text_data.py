"""Texts to learn from: fitted to a task's rules, and split so that nothing leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from textgym import Episodes, Prompt, Task
from textgym.arrays import BoolArray, IntArray
from textgym.errors import InvalidSetting, InvalidTarget

from .categorical import packed, unpacked
from .prefixes import Prefixes
from .texts import Sample


@dataclass(frozen=True)
class Corpus:
    """Texts as rows of a task, each completion with its end token where the task has one.

    Args:
        task: whose rules.
        tokens: `(n, max_prompt + horizon)` int32, as an environment shows a row before its last token.
        actions: `(n, horizon)` int32, the tokens to be written, then pads.
        length: `(n,)` how many.
        masks: `(n, horizon, ceil(size / 8))` uint8, the actions that the task's mask leaves; None for all.
        skipped: texts that did not fit, and were left out.
        duplicates: texts that stood there more than once, each counted but once.
    """

    task: Task
    tokens: IntArray
    actions: IntArray
    length: IntArray
    masks: npt.NDArray[np.uint8] | None = None
    skipped: int = 0
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def count(self) -> int:
        """The tokens to be written, of all texts."""
        return int(self.length.sum())

    def take(self, rows: IntArray) -> Corpus:
        """Return some of the texts."""
        masks = None if self.masks is None else self.masks[rows]
        return replace(
            self, tokens=self.tokens[rows], actions=self.actions[rows], length=self.length[rows], masks=masks
        )

    def batch(self, device: torch.device) -> tuple[Prefixes, Tensor]:
        """Return what a policy reads before each token to be written, and those tokens, `(N,)` int64: text by text."""
        within = np.arange(self.actions.shape[1]) < self.length[:, None]  # (n, horizon)
        segment, written = np.nonzero(within)
        prompt = (self.tokens[:, : self.task.max_prompt] != self.task.vocabulary.pad).sum(axis=1)
        masks = None if self.masks is None else unpacked(self.masks[within], self.task.size, device)
        tokens, segments, lengths, actions = (
            torch.as_tensor(array, dtype=torch.long, device=device)
            for array in (self.tokens, segment, prompt[segment] + written, self.actions[within])
        )
        return Prefixes(tokens, segments, lengths, masks), actions

    def split(self, held_out: float, seed: int) -> tuple[Corpus, Corpus]:
        """Return the texts to learn from, and a share of them that is held out, at least one of each.

        Raises:
            InvalidSetting: there is but one text.
        """
        if len(self) < 2:
            raise InvalidSetting(
                f"{len(self)} text is left to learn from, once duplicates are removed. Two are the fewest: one is "
                "held out."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        cut = min(max(1, round(held_out * len(self))), len(self) - 1)
        return self.take(order[cut:]), self.take(order[:cut])


def encode(samples: Sequence[Sample], task: Task, skip: bool = False) -> Corpus:
    """Return texts as rows of a task, each but once.

    Where the vocabulary has an end token, it follows each completion, and must find room within the horizon: what is
    learned then is a distribution over whole texts.

    Args:
        samples: texts.
        task: whose vocabulary, prompt width, horizon, ends and mask they must fit.
        skip: leave out, and count, those that do not.

    Raises:
        InvalidSetting: a text does not fit; the message says where it stands and why; or none is left.
    """
    fitting: dict[tuple[tuple[int, ...], tuple[int, ...]], Sample] = {}
    skipped = duplicates = 0
    for sample in samples:
        try:
            ids = _ids(sample, task)
        except InvalidSetting:
            if not skip:
                raise
            skipped += 1
            continue
        duplicates += ids in fitting
        fitting.setdefault(ids, sample)
    corpus, faults = written(task, list(fitting))
    if faults and not skip:
        row = min(faults)
        raise InvalidSetting(_refused(list(fitting.values())[row], faults[row]))
    kept = corpus.take(np.setdiff1d(np.arange(len(corpus)), list(faults)))
    if not len(kept):
        raise InvalidSetting(f"no text is left to learn from; {skipped + len(faults)} did not fit the environment.")
    return replace(kept, skipped=skipped + len(faults), duplicates=duplicates)


def _ids(sample: Sample, task: Task) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of a prompt, and of a completion with its end token."""
    vocabulary, eos = task.vocabulary, task.vocabulary.eos_id
    try:
        prompt, completion = vocabulary.encode(sample.prompt).tolist(), vocabulary.encode(sample.completion).tolist()
    except InvalidTarget as error:
        raise InvalidSetting(_refused(sample, str(error).rstrip("."))) from error
    unwritable = [vocabulary.show(i) for i in completion if i >= vocabulary.size]
    fault = None
    if not completion:
        fault = "its completion is empty"
    elif unwritable:
        fault = f"{unwritable[0]!r} stands in prompts only"
    elif eos is not None and eos in completion:
        fault = f"it holds the end token {vocabulary.eos!r}, which is added by itself"
    completion += [] if eos is None else [eos]
    if fault is None and len(prompt) > task.max_prompt:
        fault = f"its prompt has {len(prompt)} tokens, and the environment's prompts {task.max_prompt} at most"
    if fault is None and len(completion) > task.horizon:
        end = "" if eos is None else " with the end token"
        fault = f"it has {len(completion)} tokens{end}, and the horizon is {task.horizon}"
    if fault is not None:
        raise InvalidSetting(_refused(sample, fault))
    return tuple(prompt), tuple(completion)


def _refused(sample: Sample, fault: str) -> str:
    shown = sample.completion if len(sample.completion) < 60 else f"{sample.completion[:60]}..."
    return (
        f"{sample.place}: {shown!r} does not fit the environment: {fault}. Change it or the environment (--env "
        "KEY=VALUE), or leave such texts out (--skip, skip=True)."
    )


def written(task: Task, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[Corpus, dict[int, str]]:
    """Return ids of prompts and completions as rows of a task, and of each that its rules would not let be, why.

    The rows are written token by token, each with itself as its target, so that ends and masks are the task's own.
    """
    pad, n = task.vocabulary.pad, len(texts)
    length = np.array([len(completion) for _, completion in texts], np.int64)
    actions = np.full((n, task.horizon), pad, np.int32)
    for row, (_, completion) in enumerate(texts):
        actions[row, : len(completion)] = completion
    rows = Episodes.blank(task.vocabulary, n, task.max_prompt, task.horizon, task.horizon)
    if n:
        rows.begin(..., [Prompt(np.array(a, np.int32), np.array(b, np.int32)) for a, b in texts])
    masks = None if task.mask is None else np.full((n, task.horizon, -(-task.size // 8)), 255, np.uint8)
    faults: dict[int, str] = {}
    for t in range(int(length.max(initial=0))):
        going = np.flatnonzero(length > t)
        part, chosen = rows.take(going), actions[going, t]
        if masks is not None:
            allowed: BoolArray = task.action_mask(part)
            masks[going, t] = packed(allowed)
            barred = ~allowed[np.arange(len(going)), chosen]
            for row in going[barred].tolist():
                faults.setdefault(row, f"the environment's mask bars token {t + 1}")
        part.write(chosen)
        ended = task.ends(part) & (length[going] > t + 1)
        for row in going[ended].tolist():
            faults.setdefault(row, f"the environment ends it after {t + 1} tokens of {length[row]}")
        rows.put(going, part)
    tokens = rows.tokens
    tokens[np.arange(n), task.max_prompt + length - 1] = pad  # nothing is written after the last token
    return Corpus(task, tokens, actions, length, masks), faults
