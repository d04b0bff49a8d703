"""Rewards by name, learned and composed ones, and the decorator that makes a batched one from a function of one row."""

from __future__ import annotations

from textgym.rewards.composing import Part, WeightedSum
from textgym.rewards.counting import Distinct, Length, Repetition
from textgym.rewards.ensemble import EnsembleReward
from textgym.rewards.fluency import Fluency
from textgym.rewards.learned import LearnedReward
from textgym.rewards.matching import exact_match, faultless_prefix, key_of, right_share, right_token
from textgym.rewards.reading import FACTORIES, REWARDS, parts_of, reward_of
from textgym.rewards.rowwise import Row, rowwise
from textgym.rewards.safety import BannedWords, Toxicity
from textgym.rewards.scoring import Scored, ServedReward
from textgym.rewards.text import exact_text, same_text, text_prefix

__all__ = [
    "FACTORIES",
    "REWARDS",
    "BannedWords",
    "Distinct",
    "EnsembleReward",
    "Fluency",
    "LearnedReward",
    "Length",
    "Part",
    "Repetition",
    "Row",
    "Scored",
    "ServedReward",
    "Toxicity",
    "WeightedSum",
    "exact_match",
    "exact_text",
    "faultless_prefix",
    "key_of",
    "parts_of",
    "reward_of",
    "right_share",
    "right_token",
    "rowwise",
    "same_text",
    "text_prefix",
]
