"""EnsembleReward: what several reward models think of a finished text, as one score."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from textgym.arrays import FloatArray
from textgym.episodes import Episodes
from textgym.errors import InvalidModel, InvalidSetting
from textgym.rewards.combining import COMBINATIONS, PENALTY, checked_penalty, combine
from textgym.rewards.learned import LearnedReward
from textgym.rewards.scoring import Scored

ENSEMBLE = "ensemble.json"


def members_of(place: str | Path) -> list[str]:
    """Return the folders of an ensemble's members, as `textgym reward train --members` wrote it; of others, themselves.

    Raises:
        InvalidModel: the ensemble's file is damaged, or names what is no folder of it.
    """
    folder = Path(place)
    path = folder / ENSEMBLE
    if not path.is_file():
        return [str(place)]
    try:
        found = json.loads(path.read_bytes())
        names = found["members"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise InvalidModel(f"{path} is damaged: {type(error).__name__}: {error}. It lists `members`.") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidModel(f"{path}: members={names!r}; it must list the folders of members.")
    for name in names:
        if name != Path(name).name or not (folder / name).is_dir():
            raise InvalidModel(f"{path}: member {name!r} is no folder beside it.")
    return [str(folder / name) for name in names]


@dataclass(frozen=True)
class EnsembleReward(Scored):
    """The scores of several reward models as one: their mean, their worst, or their mean less what they disagree by.

    These are Coste et al.'s (2024, "Reward model ensembles help mitigate overoptimization"). A text that one of them
    cannot score has none.

    Args:
        model: the folder of an ensemble, or a list of reward models as `LearnedReward` takes them, comparable because
            each is normalised on the same texts.
        combination: of `textgym.rewards.combining.COMBINATIONS`: mean, worst, penalised.
        penalty: what a unit of variance costs, where it is penalised.
        device: as `LearnedReward` has it.

    Example:
        `EnsembleReward("judges", combination="worst")`, or as a registered argument
        `{"name": "ensemble", "model": "judges", "combination": "worst"}`.
    """

    model: str | list[str] | tuple[str, ...]
    combination: str = "mean"
    penalty: float = PENALTY
    device: str = "auto"
    _members: tuple[LearnedReward, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        COMBINATIONS[self.combination]
        checked_penalty(self.penalty)
        given = members_of(self.model) if isinstance(self.model, (str, Path)) else self.model
        if not isinstance(given, (list, tuple)) or not given:
            raise InvalidSetting(f"model={self.model!r} names no reward models. Give an ensemble's folder, or a list.")
        object.__setattr__(self, "_members", tuple(LearnedReward(one, device=self.device) for one in given))

    @property
    def fingerprints(self) -> tuple[dict[str, str | None], ...]:
        """Which weights score, as `ModelReward` says it."""
        return tuple(one for member in self._members for one in member.fingerprints)

    def _scores(self, finished: Episodes) -> FloatArray:
        scores = np.array([member._scores(finished) for member in self._members])  # (k, n)
        known = np.isfinite(scores).all(axis=0)
        found = np.full(len(finished), np.nan)
        if known.any():
            found[known] = combine(scores[:, known], self.combination, self.penalty)
        return found
