"""Keeper: saves a run while it learns, and stops it where it can be continued exactly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from .metrics import Metrics
from .runs import save


class Keeper(BaseCallback):
    """Saves at the first update after each `every` steps, and, once `stop` is asked for, saves and stops.

    Args:
        folder: the run's; None keeps nothing, and stopping is all it does.
        metrics: whose table is saved too.
        every: steps between checkpoints; None for none.
    """

    def __init__(self, folder: Path | None, metrics: Metrics, every: int | None = None) -> None:
        super().__init__()
        self.folder, self.metrics, self.every = folder, metrics, every
        self.stop = False  # asked for
        self.stopped = False  # done: the next step ends learning
        self.signal = signal.SIGINT  # the one that asked
        self._saved = 0

    def _on_training_start(self) -> None:
        self._saved = self.model.num_timesteps

    def _on_rollout_start(self) -> None:
        # Between an update and the next rollout, all that learning depends on is in the agent and its environment.
        due = self.every is not None and self.model.num_timesteps - self._saved >= self.every
        if self.folder is not None and (due or self.stop):
            save(self.model, self.folder, overwrite=True, metrics=self.metrics.text())
            self._saved = self.model.num_timesteps
        self.stopped = self.stop

    def _on_step(self) -> bool:
        self.stopped |= self.stop and self.folder is None  # nothing is kept: any step is as good as the next
        return not self.stopped

    @contextmanager
    def signals(self, at_once: bool = False) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM ask for a stop; a second one, or any one `at_once`, interrupts there and then."""
        if threading.current_thread() is not threading.main_thread():  # only that one is sent signals
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self.signal = signal.Signals(number)
            if self.stop or at_once:
                raise KeyboardInterrupt
            self.stop = True
            kept = "" if self.folder is None else ", and the last checkpoint stays"
            print(f"\nStopping after this update. Again: at once{kept}.", flush=True)

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
