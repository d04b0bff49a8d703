"""A bar of epochs in a terminal, while something is fitted."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .likelihood import perplexity


class Epochs:
    """A bar of epochs in a terminal; nothing elsewhere.

    Args:
        total: epochs at most.
    """

    def __init__(self, total: int) -> None:
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        console = Console()
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bar = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, epoch: int, learned: float, held_out: float) -> None:
        """Show an epoch's cross-entropies."""
        self.show(epoch, f"learned {learned:.3f}, held out {held_out:.3f} nats, perplexity {perplexity(held_out):.2f}")

    def losses(self, epoch: int, learned: float, held_out: float) -> None:
        """Show an epoch's losses."""
        self.show(epoch, f"loss {learned:.4f}, held out {held_out:.4f}")

    def show(self, done: int, said: str) -> None:
        """Show how many are done, and what there is to say of the last."""
        self._progress.update(self._bar, completed=done, description=said)
