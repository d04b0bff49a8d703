"""A reward model's folder: what `save_pretrained` writes, `reward.json` with its figures, and a card to read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgym.arrays import FloatArray
from textgym.errors import InvalidSetting
from textgym.rewards.combining import COMBINATIONS, combine
from textgym.rewards.ensemble import ENSEMBLE, members_of

from .about import versions
from .classifiers import quiet
from .reward_card import card, ensemble_card
from .reward_model import RewardModel, load_reward_model
from .reward_report import differences, pair_accuracy
from .reward_training import TrainedReward

FIGURES, CARD = "reward.json", "README.md"
WEIGHTS = "model.safetensors"


def check_out(folder: Path, overwrite: bool = False) -> None:
    """Raise `InvalidSetting` where a folder cannot take a reward model: what it holds is not lost by mistake."""
    if folder.exists() and not folder.is_dir():
        raise InvalidSetting(f"{folder} is a file. Choose another folder.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not any((folder / name).is_file() for name in (FIGURES, ENSEMBLE)):
        raise InvalidSetting(f"{folder} holds other files. Choose another folder, or an empty one.")
    if not overwrite:
        raise InvalidSetting(
            f"{folder} holds a reward model. Choose another folder, or pass --overwrite (overwrite=True)."
        )


def save_reward_model(
    trained: TrainedReward | Sequence[TrainedReward],
    folder: str | Path,
    overwrite: bool = False,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Keep a reward model with its figures; several are members of an ensemble, a folder each.

    All is written beside the folder first, and then takes its name.

    Args:
        trained: what `train_reward_model` returned, once or for several members.
        folder: where; `AutoModelForSequenceClassification.from_pretrained` reads it, or a member's.
        overwrite: replace a reward model that is there.
        data: what it was learned from, for the figures.

    Raises:
        InvalidSetting: the folder holds something.
    """
    folder = Path(folder)
    check_out(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as draft:
        new, old = Path(draft) / "new", Path(draft) / "old"
        if isinstance(trained, TrainedReward):
            _write(trained, new, data)
        else:
            _write_ensemble(trained, new, data)
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(new, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise


def _write(trained: TrainedReward, folder: Path, data: Mapping[str, Any] | None) -> None:
    import transformers

    folder.mkdir()
    with quiet():
        trained.model.model.save_pretrained(folder, safe_serialization=True)
        trained.model.tokenizer.save_pretrained(folder)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() if (folder / WEIGHTS).exists() else None
    made_with = {**versions(), "transformers": transformers.__version__}
    figures = {**trained.figures, "data": dict(data or {}), "sha256": digest, "versions": made_with}
    (folder / FIGURES).write_text(json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    (folder / CARD).write_text(card(figures), "utf-8")


def _write_ensemble(members: Sequence[TrainedReward], folder: Path, data: Mapping[str, Any] | None) -> None:
    folder.mkdir()
    names = [f"member-{i}" for i in range(len(members))]
    for name, member in zip(names, members):
        _write(member, folder / name, data)
    about = {"members": names, "pair_accuracy": ensemble_accuracy(members)}
    (folder / ENSEMBLE).write_text(json.dumps(about, indent=2, allow_nan=False) + "\n", "utf-8")
    (folder / CARD).write_text(ensemble_card(about, members[0].figures), "utf-8")


def ensemble_accuracy(members: Sequence[TrainedReward]) -> dict[str, Any]:
    """Return the share of held-out pairs that each member ranks rightly, and each combination of them.

    Raises:
        InvalidSetting: there is none, or they were held out different records.
    """
    if not members or any(member.held_out != members[0].held_out for member in members):
        raise InvalidSetting(
            f"{len(members)} members make no ensemble: they must share the records that are held out. Train them with "
            "one seed, and member=0, 1, ..."
        )
    records = members[0].held_out
    texts = [text for record in records for text in record.texts]
    ends = np.cumsum([len(record.texts) for record in records])[:-1]
    scores = np.array([member.model.scores(texts) for member in members])  # (k, N)

    def accuracy(flat: FloatArray) -> float | None:
        return pair_accuracy(differences(records, np.split(flat, ends)))

    found: dict[str, Any] = {how: accuracy(combine(scores, how)) for how in COMBINATIONS}
    return {"members": [accuracy(row) for row in scores], **found}


def load_ensemble(name: str | Path, device: str = "auto") -> list[RewardModel]:
    """Return an ensemble's members; of a single reward model, itself alone."""
    return [load_reward_model(member, device=device) for member in members_of(name)]
