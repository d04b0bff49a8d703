"""RewardModel: write a product review that a learned reward likes, with a gold model that says whether it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgym.errors import InvalidPrompt, InvalidSetting
from textgym.episodes import Prompt
from textgym.prompts import ListedPrompts, prompt_ids
from textgym.reviews import END, HORIZON, alphabet, openings
from textgym.rewards import LearnedReward, Part, WeightedSum, parts_of
from textgym.task import Reward, Task
from textgym.vocabulary import Vocabulary

OWN = ("proxy", "gold")


def reward_model(
    reward_model: str = "textgym:proxy",
    gold: str | None = "textgym:gold",
    horizon: int = HORIZON,
    prompts: Sequence[str] | None = None,
    normalisation: Sequence[float] | None = None,
    safety: Mapping[str, Any] | None = None,
) -> Task:
    """Go on with a Chinese product review, so that a learned reward model likes it.

    PAGE
    """
    vocabulary = Vocabulary(alphabet(), eos=END)
    proxy = LearnedReward(reward_model, **_normalised(normalisation))
    metrics: dict[str, Reward] = {"proxy": proxy}
    reward: Reward = proxy
    if safety is not None:
        parts = parts_of(safety)
        if taken := [name for name in parts if name in OWN]:
            raise InvalidSetting(f"safety has a part {taken[0]!r}, which is the name of a score here. Name it otherwise.")
        reward = WeightedSum({"proxy": Part(proxy), **parts})
        metrics = reward.metrics
    if gold is not None:
        metrics = {**metrics, "gold": LearnedReward(gold)}
    return Task(vocabulary, listed(vocabulary, openings() if prompts is None else prompts), reward, horizon, metrics=metrics)


def _normalised(given: Sequence[float] | None) -> dict[str, float]:
    """Return the arguments by which scores are normalised."""
    if given is None:
        return {}
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise InvalidSetting(f"normalisation={given!r} is no mean and deviation. Give a pair, as [0.0, 1.0], or None.")
    return {"mean": given[0], "deviation": given[1]}


def listed(vocabulary: Vocabulary, texts: Sequence[str]) -> ListedPrompts:
    """Return prompts of texts, each equally likely, without targets."""
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
        raise InvalidPrompt(f"prompts={texts!r} is no list of texts. Give at least one, as ['房间很', '这本书'], or None.")
    nothing = np.zeros(0, np.int32)
    return ListedPrompts(tuple(Prompt(np.array(prompt_ids(vocabulary, text), np.int32), nothing) for text in texts))
