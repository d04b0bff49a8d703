"""An inspection as a table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .inspection import Inspection, shown

if TYPE_CHECKING:
    from rich.console import RenderableType

ALTERNATIVES = 3  # shown beside each token
LOOKED_AT = 2


def rendered(inspection: Inspection) -> RenderableType:
    """Return a completion's heading, its table and its notes, for rich to print."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    columns, total = inspection.columns(), inspection.total
    sums = {"probability": total["log_likelihood"], "reward": total["return"], "kl": total["kl"]}
    table.add_column("", justify="right", style="dim")
    table.add_column("token", no_wrap=True, style="cyan", footer="sum" if len(inspection.completion) else "")
    for column in columns:
        end = sums.get(column.name)
        footer = "" if end is None else (f"log {shown(end)}" if column.name == "probability" else shown(end))
        table.add_column(column.title, justify="right", footer=Text(footer))
    table.add_column("likeliest" if inspection.action_values is None else "best", style="dim", no_wrap=True)
    if inspection.attention is not None:
        table.add_column("looks at", style="dim", no_wrap=True)
    for place, token in enumerate(inspection.completion.tolist()):
        cells = ["" if column.values is None else shown(float(column.values[place])) for column in columns]
        best = "  ".join(f"{name} {shown(score)}" for name, score in inspection.choices(place)[:ALTERNATIVES])
        looks = [] if inspection.attention is None else [Text(_looks(inspection, place))]
        table.add_row(Text(str(place + 1)), Text(inspection.show(token)), *map(Text, cells), Text(best), *looks)
    parts: list[RenderableType] = [Text(heading(inspection), style="bold"), table]
    return Group(*parts, *[Text(f"{name}: {note}.", style="dim") for name, note in sentences(inspection)])


def heading(inspection: Inspection) -> str:
    """Return one line about a completion: the text and what it was worth."""
    worth = [f"{name} {shown(value)}" for name, value in inspection.metrics.items()]
    earned = inspection.total["return"]
    facts = [*([] if earned is None else [f"return {shown(earned)}"]), *worth]
    return "   ".join([inspection.text, *facts])


def origin(inspection: Inspection) -> str:
    """Return one line about where completions come from."""
    about = inspection.about
    steps = None if about["steps"] is None else f"{about['steps']:,} steps"
    to = None if inspection.reference is None else f"KL to {inspection.reference}"
    return ", ".join(str(part) for part in (about["env"], about["agent"], steps, about["how"], to) if part is not None)


def sentences(inspection: Inspection) -> list[tuple[str, str]]:
    """Return the notes, columns that are empty for one reason together, without full stops."""
    names: dict[str, list[str]] = {}
    for name, note in inspection.notes.items():
        names.setdefault(note.rstrip("."), []).append("KL" if name == "kl" else name)
    return [("no " + ", ".join(columns), note) for note, columns in names.items()]


def _looks(inspection: Inspection, place: int) -> str:
    """Return what a token's choice looked at most, the mean of all layers."""
    return "  ".join(f"{name} {weight:.2f}" for name, weight in most_seen(inspection, place, LOOKED_AT))


def most_seen(inspection: Inspection, place: int, most: int) -> list[tuple[str, float]]:
    """Return the tokens that a choice looked at most, with their share of attention, the mean of all layers."""
    assert inspection.attention is not None
    weights = inspection.attention[:, place].mean(axis=0)[: len(inspection.prompt) + place + 1]
    before = ["(start)", *map(inspection.show, [*inspection.prompt.tolist(), *inspection.completion.tolist()])]
    return [(before[i], float(weights[i])) for i in weights.argsort()[::-1][:most].tolist()]
