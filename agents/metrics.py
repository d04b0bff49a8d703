"""Metrics: what a run has earned by which step, as rows of a table and as TensorBoard's curves."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from textgym.errors import InvalidSetting

from .reward_hacking import RewardHackingCallback

COLUMNS = ("step", "seconds", "return", "length", "success", "entropy", "loss", "steps_per_second")
GOLD_COLUMNS = ("gold", "repetition")
"""What a run's table has besides, where the task reports a gold reward."""
Row = dict[str, float | None]
ROWS = 200  # a run's table has at most about so many


class Metrics(BaseCallback):
    """Notes return, length and success of the last 100 episodes, entropy, loss and speed, some 200 times in a run.

    Args:
        total: the steps in all.
        rows: what was noted before, where a run goes on.
        tensorboard: a folder for TensorBoard's files; None for none.
    """

    hacking: RewardHackingCallback | None = None  # whose gold reward and repetition are noted too

    def __init__(self, total: int, rows: Iterable[Row] = (), tensorboard: Path | None = None) -> None:
        super().__init__()
        self.rows = list(rows)
        self.every = max(1, -(-total // ROWS))
        self._tensorboard = tensorboard
        self._writer: Any = None

    def _on_training_start(self) -> None:
        last = self.rows[-1] if self.rows else {}
        self._start = time.perf_counter() - (last.get("seconds") or 0.0)
        self._since = time.perf_counter(), self.model.num_timesteps
        if self._tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            # of a run that goes on, what stands behind its last step is no longer so
            self._writer = SummaryWriter(str(self._tensorboard), purge_step=self.model.num_timesteps + 1)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # An update has just been made: SB3 has logged it, and will forget that at one of the next steps.
        before = self.rows[-1]["step"] if self.rows else 0
        if self.num_timesteps - (before or 0) >= self.every:
            self._note()

    def _on_training_end(self) -> None:
        if not self.rows or self.rows[-1]["step"] != self.num_timesteps:
            self._note()
        if self._writer is not None:
            self._writer.close()

    def _note(self) -> None:
        logged = getattr(self.logger, "name_to_value", {})
        now, (then, steps) = time.perf_counter(), self._since
        self._since = now, self.num_timesteps
        entropy = logged.get("train/entropy_loss")
        losses = [logged.get(f"train/{name}") for name in ("loss", "value_loss")]
        episodes: Any = self.model.ep_info_buffer or ()
        row: Row = {
            "step": self.num_timesteps,
            "seconds": round(now - self._start, 3),
            "return": _mean(episode["r"] for episode in episodes),
            "length": _mean(episode["l"] for episode in episodes),
            "success": _mean(self.model.ep_success_buffer or ()),
            "entropy": None if entropy is None else -float(entropy),
            "loss": next((float(loss) for loss in losses if loss is not None), None),
            "steps_per_second": round((self.num_timesteps - steps) / max(now - then, 1e-9), 1),
        }
        if self.hacking is not None:
            row |= {name: value for name, value in self.hacking.watched().items() if name in GOLD_COLUMNS}
        self.rows.append(row)
        if self._writer is not None:
            for name, value in row.items():
                if value is not None and name != "step":
                    self._writer.add_scalar(f"textgym/{name}", value, self.num_timesteps)
            for name, value in logged.items():
                if isinstance(value, (int, float, np.number)):
                    self._writer.add_scalar(name, float(value), self.num_timesteps)
            self._writer.flush()

    def text(self) -> str:
        """Return the table as CSV; what is not known is empty."""
        lines = io.StringIO()
        more = GOLD_COLUMNS if any(GOLD_COLUMNS[0] in row for row in self.rows) else ()
        table = csv.DictWriter(lines, (*COLUMNS, *more), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        return lines.getvalue()


def read_metrics(text: str) -> list[Row]:
    """Return the rows of a table that `Metrics.text` wrote.

    Raises:
        InvalidSetting: it is none.
    """
    table = csv.DictReader(io.StringIO(text))
    columns = tuple(table.fieldnames or ())
    if columns not in (COLUMNS, (*COLUMNS, *GOLD_COLUMNS)):
        raise InvalidSetting(f"metrics.csv has the columns {table.fieldnames}; it must have {list(COLUMNS)}.")
    try:
        return [{name: _number(row[name]) for name in columns} for row in table]
    except (TypeError, ValueError, csv.Error) as error:
        raise InvalidSetting(f"metrics.csv holds what is no number: {error}") from error


def _number(text: str) -> float | None:
    """Return a number as it was before it was written: a count as an integer; None for what is empty."""
    return int(text) if str.isdecimal(text) else float(text) if text else None


def _mean(values: Iterable[float]) -> float | None:
    found = [float(value) for value in values]
    return float(np.mean(found)) if found else None
