"""`textgym reproduce FILE`: runs of the suite again, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    results: Annotated[Path, typer.Argument(help="A file that `textgym bench` wrote.")],
    lines: Annotated[list[int] | None, typer.Option("--line", help="This line of it alone, from 1 on.")] = None,
    agent: Annotated[str | None, typer.Option(help="The runs of this agent alone.")] = None,
    experiment: Annotated[str | None, typer.Option(help="The runs of this experiment alone.")] = None,
) -> None:
    """Run results again and say which come out the same, to the last bit (same versions, same processor)."""
    from textgym.errors import InvalidSetting

    from ..about import versions
    from ..bench import reproduce as run_again
    from ..results import read

    if not results.exists():
        raise FileNotFoundError(f"{results} is not there. `textgym bench --out {results}` writes it.")
    records = dict(enumerate(read(results), 1))
    for line in lines or []:
        if line not in records:
            raise InvalidSetting(f"{results} has lines 1 to {len(records)}; --line {line} is none of them.")
    chosen = {
        line: record
        for line, record in records.items()
        if (not lines or line in lines)
        and (agent is None or record["agent"] == agent)
        and (experiment is None or record["experiment"] == experiment)
    }
    if not chosen:
        known = ", ".join(sorted({f"{r['experiment']} of {r['agent']}" for r in records.values()}))
        raise InvalidSetting(f"{results} has no such run. It has: {known or 'none'}.")
    others = 0
    for line, record in chosen.items():
        _, differences = run_again(record)
        name = f"line {line}: {record['experiment']}, {record['agent']}, seed {record['seed']}"
        print(f"{name}: {'differs' if differences else 'the same'}", flush=True)
        for difference in differences:
            print(f"    {difference[:300]}")
        if differences and record.get("versions") != versions():
            print(f"    it was run with {record.get('versions')}, now {versions()}")
        others += bool(differences)
    print(f"{len(chosen) - others} of {len(chosen)} came out the same.")
    if others:
        raise typer.Exit(1)
