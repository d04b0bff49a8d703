"""Prompt generators that more than one task uses."""

from __future__ import annotations

from textgym.prompts.listed import ListedPrompts, split
from textgym.prompts.seeded import SeededPrompts
from textgym.prompts.strings import RandomStrings

__all__ = ["ListedPrompts", "RandomStrings", "SeededPrompts", "split"]
