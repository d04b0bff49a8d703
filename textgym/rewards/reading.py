"""Rewards from plain data: names and arguments, as a registered environment's keyword arguments hold them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from textgym.errors import InvalidSetting, Names, unknown
from textgym.rewards.composing import Part, WeightedSum
from textgym.rewards.counting import Distinct, Length, Repetition
from textgym.rewards.ensemble import EnsembleReward
from textgym.rewards.fluency import Fluency
from textgym.rewards.learned import LearnedReward
from textgym.rewards.matching import exact_match, faultless_prefix, right_token
from textgym.rewards.safety import BannedWords, Toxicity
from textgym.rewards.text import exact_text, text_prefix
from textgym.task import Reward

REWARDS: Names[Reward] = Names(
    "reward",
    token=right_token,
    terminal=exact_match,
    shaped=faultless_prefix,
    text=exact_text,
    shaped_text=text_prefix,
)


def weighted(parts: Mapping[str, Any], clip: Any = None) -> WeightedSum:
    """Return a weighted sum from plain data.

    Args:
        parts: a reward as `reward_of` takes it, by the name that it is reported by. A mapping's `weight` and `clip` are
            the part's; its `name`, where it is left out, is the part's own.
        clip: of the whole.
    """
    return WeightedSum(parts_of(parts), clip)


def parts_of(parts: Mapping[str, Any]) -> dict[str, Part]:
    """Return parts of a sum from plain data, as `weighted` has them."""
    if not isinstance(parts, Mapping):
        raise InvalidSetting(f"parts={parts!r} are no parts. Give {{'length': {{'weight': -0.1}}, ...}}.")
    made = {}
    for name, spec in parts.items():
        own = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
        kept = {key: own.pop(key) for key in ("weight", "clip") if key in own}
        made[name] = Part(reward_of({"name": name, **own}), **kept)
    return made


FACTORIES: Names[Callable[..., Reward]] = Names(
    "reward with arguments",
    learned=LearnedReward,
    ensemble=EnsembleReward,
    fluency=Fluency,
    toxicity=Toxicity,
    banned_words=BannedWords,
    distinct=Distinct,
    repetition=Repetition,
    length=Length,
    sum=weighted,
)
"""Rewards that take arguments, by name."""


def reward_of(spec: str | Mapping[str, Any]) -> Reward:
    """Return the reward that plain data names.

    Args:
        spec: a name of REWARDS; or a mapping with the `name` of one of FACTORIES and its arguments.

    Raises:
        UnknownName: there is no such reward or argument.
        InvalidSetting: an argument is refused, or it is no such data.

    Example:
        >>> reward = reward_of({"name": "sum", "parts": {"shaped": "shaped", "length": {"most": 8, "weight": -0.1}}})
        >>> sorted(reward.metrics)
        ['length', 'shaped']
    """
    if isinstance(spec, str) and spec not in FACTORIES:
        return REWARDS[spec]
    given: Any = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise InvalidSetting(f"reward={spec!r} names no reward. Give a name, or {{'name': ..., and its arguments}}.")
    name = given["name"]
    if name in REWARDS and len(given) == 1:
        return REWARDS[name]
    factory = FACTORIES[name]
    arguments = {key: value for key, value in given.items() if key != "name"}
    known = inspect.signature(factory).parameters
    for key in arguments:
        if key not in known:
            raise unknown(f"argument of {name!r}", key, known)
    lacking = [key for key, one in known.items() if one.default is one.empty and key not in arguments]
    if lacking:
        raise InvalidSetting(f"reward {name!r} lacks {lacking[0]!r}. Give {{'name': {name!r}, {lacking[0]!r}: ...}}.")
    return factory(**arguments)
