"""Watch: live progress of learning in a terminal, with texts as the agent now writes them."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from stable_baselines3.common.callbacks import BaseCallback

from textgym import Task

from .evaluation import write_one
from .metrics import Metrics

EVERY = 0.25  # seconds between frames


class Watch(BaseCallback):
    """A progress bar, the newest metrics and, every `texts` updates, greedily written texts coloured by reward.

    A frame is drawn at most four times a second, and texts are written for frames alone. In anything but a terminal it
    prints nothing.

    Args:
        total: the steps in all.
        metrics: noted before it is shown.
        task: whose texts are shown; None for none.
        texts: updates between texts; 0 for none.
        console: where to.
    """

    def __init__(
        self, total: int, metrics: Metrics, task: Task | None = None, texts: int = 10, console: Console | None = None
    ) -> None:
        super().__init__()
        self.metrics, self.task, self.texts = metrics, task, texts
        self._console = console or Console()
        columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, console=self._console)
        self._bar = self._progress.add_task("", total=total)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._updates, self._due, self._written, self._shown = 0, False, list[Text](), 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _on_step(self) -> bool:
        if self._live.is_started and time.perf_counter() - self._shown > EVERY:
            self._show()
        return True

    def _on_rollout_start(self) -> None:
        self._updates += 1
        self._due |= bool(self.texts) and self._updates % self.texts == 0

    def _on_training_end(self) -> None:
        if self._live.is_started:
            self._due = bool(self.texts)
            self._show()

    def _show(self) -> None:
        if self._due and self.task is not None:
            self._written, self._due = written(self.model, self.task), False
        self._shown = time.perf_counter()
        self._progress.update(self._bar, completed=min(self.num_timesteps, self._progress.tasks[0].total or 0))
        self._live.update(Group(self._progress, *self._facts(), *self._written), refresh=True)

    def _facts(self) -> list[Table]:
        """Return the newest metrics as one line."""
        if not self.metrics.rows:
            return []
        row = self.metrics.rows[-1]
        table = Table.grid(padding=(0, 2))
        parts = [
            f"{name.replace('_', ' ')} {row[name]:.3g}"
            for name in ("return", "success", "entropy", "steps_per_second")
            if row[name] is not None
        ]
        table.add_row(*parts)
        return [table]


def written(agent: Any, task: Task, n: int = 3, seed: int = 0) -> list[Text]:
    """Return texts that an agent writes greedily, each token coloured by its reward: green paid, red cost, grey none.

    The agent's own chance is not touched.
    """
    lines = []
    for row in range(n if task.max_prompt else 1):
        prompt, steps = write_one(agent, task, np.random.default_rng(seed + row))
        line = Text(f"{prompt} → " if prompt else "")
        for token, reward in steps:
            line.append(token, "green" if reward > 0 else "red" if reward < 0 else "bright_black")
        lines.append(line)
    return lines
