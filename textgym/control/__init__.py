"""Control tasks: Gymnasium's own, told in words, as environments whose observations are tokens."""

from __future__ import annotations

from textgym.control.building import build_control, load_control, register_control
from textgym.control.options import Options
from textgym.control.rows import ControlRows
from textgym.control.rules import Control, Physics

__all__ = ["Control", "ControlRows", "Options", "Physics", "build_control", "load_control", "register_control"]
