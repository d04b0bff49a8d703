"""A disk on which any single step of writing can fail."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from typing import Any

import pytest


class Killed(BaseException):
    """Stands for SIGKILL: nothing may handle it."""


class Steps:
    """Makes the k-th step that touches the disk raise, and, after a kill, every later one: a dead process does no more.

    Steps are making a folder, opening, writing (half of the data reaches the disk), fsync, renaming and removing.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException]) -> None:
        self.count, self.at, self.error, self.dead = 0, -1, error, False
        self.raised: BaseException | None = None
        for name in ("fsync", "replace", "unlink", "open", "mkdir"):
            monkeypatch.setattr(os, name, self._around(getattr(os, name)))
        self._real_open = open
        monkeypatch.setattr(builtins, "open", self._open)

    def run(self, at: int, call: Callable[[], None]) -> bool:
        """Call, and raise at that step; return whether there was one. `raised` is what then came out."""
        self.count, self.at, self.dead, self.raised = 0, at, False, None
        try:
            call()
        except (Killed, OSError) as error:
            self.raised = error
        finally:
            self.at = -1
        return self.count > at

    def step(self) -> None:
        self.count += 1
        if self.at >= 0 and (self.count - 1 == self.at or self.dead):
            self.dead = isinstance(error := self.error(), Killed)
            raise error

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **kwargs: Any) -> Any:
            self.step()
            return function(*arguments, **kwargs)

        return stepped

    def _open(self, file: Any, mode: str = "r", *arguments: Any, **kwargs: Any) -> Any:
        self.step()
        return _Writing(self._real_open(file, mode, *arguments, **kwargs), self)


class _Writing:
    """A file that is being written, one step a call."""

    def __init__(self, file: Any, steps: Steps) -> None:
        self.file, self.steps = file, steps

    def write(self, data: bytes) -> int:
        """Write all of the data, or half of it where the process dies."""
        try:
            self.steps.step()
        except BaseException:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise
        return int(self.file.write(data))

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
