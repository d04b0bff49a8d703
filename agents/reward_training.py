"""train_reward_model: fits a sequence classifier to preferences or labels, and says what it is worth."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textgym.arrays import FloatArray, IntArray
from textgym.errors import InvalidSetting, NotFinite, require_flag, require_natural

from .character_tokenizer import character_tokenizer
from .classifiers import load_classifier, small_classifier
from .device import check_device
from .preferences import Labelled, Preference, given_records, require_apart, split
from .reward_losses import LOSSES, LossSettings
from .reward_model import RewardModel, origin, placed
from .reward_report import distribution, figures
from .reward_settings import SMALL, RewardSettings

Records = Sequence[Preference] | Sequence[Labelled]
Note = Callable[[int, float, float], None]
"""Called after each epoch with its number, the loss of what was learned from, and the held-out one."""


@dataclass(frozen=True)
class TrainedReward:
    """A reward model that was fitted, and what it is worth; `reward_folder.save_reward_model` keeps both."""

    model: RewardModel
    figures: dict[str, Any]  # plain data, as `reward.json` has it
    held_out: Records  # what the figures are of


def train_reward_model(
    records: Iterable[Preference | Labelled | Mapping[str, Any]],
    *,
    held_out_records: Iterable[Preference | Labelled | Mapping[str, Any]] | None = None,
    base: str | Path | None = None,
    revision: str | None = None,
    reference: Iterable[str] | None = None,
    skip: bool = False,
    member: int = 0,
    device: str = "auto",
    note: Note | None = None,
    **settings: Any,
) -> TrainedReward:
    """Fit a sequence classifier with one output, and keep the parameters of the epoch with the lowest held-out loss.

    AdamW (Loshchilov & Hutter, 2019) steps over minibatches in random order. No text stands both in what is learned and
    in what is held out. At the end scores are normalised to mean 0 and deviation 1.

    Args:
        records: preferences, or labelled texts where the loss is of these; or mappings with the keys of a file's line.
        held_out_records: a held-out part of one's own, instead of a share of the records.
        base: what to begin with: a folder or a hub's name of a sequence classifier with one output, or of a pretrained
            model, which gets a fresh head. None for a small BERT over the characters of what is learned.
        revision: of a hub's model.
        reference: the texts that scores are normalised on; None for all that are held out.
        skip: leave out, and count, records with a text that is longer than the model reads.
        member: of an ensemble: all share one split, and differ in first parameters, dropout and order.
        device: auto, cpu, cuda, ...
        note: called after each epoch.
        settings: of `RewardSettings`.

    Raises:
        InvalidSetting: records, a base or settings that cannot be; a text stands in both parts; a text is too long.
        NotFinite: the loss is not finite.
    """
    known = RewardSettings.read(settings, "the reward model")
    loss = LOSSES[known.loss]
    require_flag(skip=skip)
    require_natural(member=member)
    check_device(device)
    learned, kept = _parts(records, held_out_records, known)
    for record in (*learned, *kept):
        if isinstance(record, Labelled) and not loss.lowest <= record.label <= loss.highest:
            raise InvalidSetting(
                f"{record.place}: label={record.label:g}; {known.loss} has labels from {loss.lowest:g} to "
                f"{loss.highest:g}. Write such ones, or take loss=regression."
            )
    cards = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(known.seed + 1_000_003 * member)
        model = _begin(learned, base, revision, known, device)
        fitting = _Fitting(model, _tokens(learned, model, skip), _tokens(kept, model, skip), known, base, member)
        course = fitting.run(note)
    found = {**_worth(fitting, *course, reference), "base": model.origin, "member": member}
    return TrainedReward(model, found, fitting.held_out.records)


def _worth(
    fitting: _Fitting, curve: list[tuple[float, float]], epoch: int, before: float, reference: Iterable[str] | None
) -> dict[str, Any]:
    """Normalise a model that was fitted, and return its figures."""
    model, learned, held_out, known = fitting.model, fitting.learned, fitting.held_out, fitting.known
    texts = [text for record in held_out.records for text in record.texts]
    lengths = np.array([len(ids) for ids in held_out.flat], np.float64)
    found = figures(held_out.records, model.raw(held_out.flat), lengths, known.loss != "regression")
    normalisation = model.normalise(list(dict.fromkeys(texts if reference is None else reference)))
    counts = {"learned": len(learned.records), "held_out": len(held_out.records)}
    return {
        **found,
        "loss": {"name": known.loss, "held_out": min([before, *[pair[1] for pair in curve]]), "before": before},
        "scores": distribution(model.scores(texts)),
        "normalisation": {**normalisation, "on": "held-out texts" if reference is None else "reference texts"},
        "records": {**counts, "skipped": learned.skipped + held_out.skipped},
        "epoch": epoch,
        "epochs": len(curve),
        "curve": [list(pair) for pair in curve],
        "parameters": sum(parameter.numel() for parameter in model.model.parameters()),
        "settings": {**known.model_dump(), "learning_rate": fitting.rate},
    }


def _parts(records: Any, held_out: Any, known: RewardSettings) -> tuple[Records, Records]:
    """Return the records to learn from, and those held out."""
    kind: Any = Labelled if LOSSES[known.loss].labelled else Preference
    learned = given_records(records, kind)
    if held_out is None:
        return split(learned, known.held_out, known.seed)
    if "held_out" in known.model_fields_set:
        raise InvalidSetting("held_out_records are given, and held_out, a share, besides. Leave one of them out.")
    kept = given_records(held_out, kind)
    require_apart(learned, kept)
    return learned, kept


def _begin(
    learned: Records, base: str | Path | None, revision: str | None, known: RewardSettings, device: str
) -> RewardModel:
    """Return the model as it is before it learns."""
    if base is None:
        if revision is not None:
            raise InvalidSetting(f"revision={revision!r} is of a model that is loaded. Name it: base=..., --base NAME.")
        texts = [text for record in learned for text in record.texts]
        tokenizer = character_tokenizer(texts, known.window, known.min_count)
        sizes = known.d_model, known.n_layers, known.n_heads, known.dropout
        model = small_classifier(tokenizer, known.window, *sizes)
        return RewardModel(placed(model, device), tokenizer, {"from": None})
    if own := [name for name in SMALL if name in known.model_fields_set]:
        raise InvalidSetting(f"{', '.join(own)} would be of a model that is made; {base} has its own. Leave it out.")
    model, tokenizer = load_classifier(base, revision, new_head=True)
    return RewardModel(placed(model, device), tokenizer, origin(model, base, revision))


@dataclass(frozen=True)
class _Tokens:
    """Records as the model reads them.

    Args:
        records: of one kind.
        ids: of each record's texts.
        target: each pair's margin, or each text's label, `(n,)`.
        skipped: records that were left out.
    """

    records: Any
    ids: list[list[list[int]]]
    skipped: int

    @property
    def flat(self) -> list[list[int]]:
        return [one for texts in self.ids for one in texts]


def _tokens(records: Records, model: RewardModel, skip: bool) -> _Tokens:
    """Return records as ids, all of them or, where `skip` says so, those that fit."""
    texts, places = zip(*[(text, record.place) for record in records for text in record.texts])
    if skip:  # one by one, since any may be refused
        kept, ids = [], []
        for record in records:
            try:
                ids.append(model.encode(record.texts, [record.place] * len(record.texts)))
            except InvalidSetting:
                continue
            kept.append(record)
        if not kept:
            raise InvalidSetting(f"none of {len(records)} records fits the {model.window} tokens that the model reads.")
        return _Tokens(kept, ids, len(records) - len(kept))
    found = iter(model.encode(texts, places))
    return _Tokens(records, [[next(found) for _ in record.texts] for record in records], 0)


class _Fitting:
    """One fit: the model, its optimiser, and the best parameters so far."""

    def __init__(
        self, model: RewardModel, learned: _Tokens, held_out: _Tokens, known: RewardSettings, base: Any, member: int
    ) -> None:
        self.model, self.learned, self.held_out, self.known = model, learned, held_out, known
        self.loss, self.options = LOSSES[known.loss], LossSettings(known.label_smoothing)
        self.rate = known.learning_rate or (1e-3 if base is None else 2e-5)
        self.network: Any = model.model
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.rate, weight_decay=known.weight_decay)
        self.rng = np.random.default_rng([known.seed, member])
        self.best, self.kept = math.inf, copy.deepcopy(self.network.state_dict())

    def run(self, note: Note | None) -> tuple[list[tuple[float, float]], int, float]:
        """Make epochs until none has helped for long; return the curve, the best epoch and the first held-out loss."""
        curve: list[tuple[float, float]] = []
        before = self.best = self._held_out()
        epoch = 0
        try:
            while len(curve) < self.known.epochs and len(curve) - epoch < self.known.patience:
                curve.append((self._epoch(), self._held_out()))
                if note is not None:
                    note(len(curve), *curve[-1])
                if curve[-1][1] < self.best:
                    self.best, epoch = curve[-1][1], len(curve)
                    self.kept = copy.deepcopy(self.network.state_dict())
        finally:
            self.network.load_state_dict(self.kept)
            self.network.eval()
        return curve, epoch, before

    def _epoch(self) -> float:
        """Read all records once, in random order; return their mean loss, as it was while they were read."""
        self.network.train()
        order, total = self.rng.permutation(len(self.learned.records)), 0.0
        for first in range(0, len(order), self.known.batch_size):
            rows = order[first : first + self.known.batch_size]
            loss = self._losses(self.learned, rows).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.parameters, self.known.max_grad_norm)
            self.optimizer.step()
            total += self._finite(loss.item()) * len(rows)
        return total / len(order)

    def _held_out(self) -> float:
        self.network.eval()
        n, size, total = len(self.held_out.records), self.known.batch_size, 0.0
        with torch.no_grad():
            for first in range(0, n, size):
                total += float(self._losses(self.held_out, np.arange(first, min(first + size, n))).sum())
        return self._finite(total / n)

    def _losses(self, tokens: _Tokens, rows: IntArray) -> Tensor:
        """Return the loss of each of some records, `(n,)`."""
        ids, device = [tokens.ids[row] for row in rows], self.model.device
        counts = np.array([len(texts) for texts in ids])
        present = np.arange(counts.max()) < counts[:, None]  # (n, k)
        outputs = self.model.outputs([one for texts in ids for one in texts])  # (sum of counts,)
        where = torch.as_tensor(present, device=device)
        scores = torch.zeros(present.shape, device=device).masked_scatter(where, outputs)  # (n, k)
        target = torch.as_tensor(self._target([tokens.records[row] for row in rows]), device=device).float()
        return self.loss.of(scores, where, target, self.options)

    def _target(self, records: Records) -> FloatArray:
        """Return labels, or margins, `(n,)`."""
        known = [
            r.label if isinstance(r, Labelled) else self.known.margin if r.margin is None else r.margin for r in records
        ]
        return np.array(known, np.float64)

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            raise NotFinite(
                f"the loss is {value} at learning_rate={self.rate}. Give a smaller learning_rate, or smaller labels."
            )
        return value
