"""Rewards by name, and the decorator that makes a batched reward from a function of one row."""

from __future__ import annotations

from textgym.errors import Names
from textgym.rewards.matching import exact_match, faultless_prefix, key_of, right_share, right_token
from textgym.rewards.rowwise import Row, rowwise
from textgym.rewards.text import exact_text, same_text, text_prefix
from textgym.task import Reward

REWARDS: Names[Reward] = Names(
    "reward",
    token=right_token,
    terminal=exact_match,
    shaped=faultless_prefix,
    text=exact_text,
    shaped_text=text_prefix,
)

__all__ = [
    "REWARDS",
    "Row",
    "exact_match",
    "exact_text",
    "faultless_prefix",
    "key_of",
    "right_share",
    "right_token",
    "rowwise",
    "same_text",
    "text_prefix",
]
