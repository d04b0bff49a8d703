"""Prompt generators that more than one task uses."""

from __future__ import annotations

from textgym.prompts.listed import ListedPrompts, split
from textgym.prompts.seeded import SeededPrompts
from textgym.prompts.strings import RandomStrings
from textgym.prompts.texts import prompt_ids

__all__ = ["ListedPrompts", "RandomStrings", "SeededPrompts", "prompt_ids", "split"]
