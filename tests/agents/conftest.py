"""What the agents' tests share: one thread, since more can be a hundred times slower, and the command line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from agents.commands import main

torch.set_num_threads(1)


@pytest.fixture
def textgym(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in an empty folder, with these lines typed; return its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["textgym", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as exit:
            main()
        assert exit.value.code is None or isinstance(exit.value.code, int)
        return exit.value.code or 0, *capfd.readouterr()

    return run
