"""`textgym bench`: agents on the diagnostic suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer


def bench(
    agents: Annotated[str, typer.Option(help="Names, or package.module:make, with commas between them.")] = "",
    experiments: Annotated[str, typer.Option(help="Names, with commas between them; all if left out.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each setting.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A few experiments, one seed, fewer steps.")] = False,
    out: Annotated[Path, typer.Option(help="Results, a line each; what is there already is not run again.")] = Path(
        "results.jsonl"
    ),
    jobs: Annotated[int, typer.Option(min=0, help="Runs side by side; 0 for one a core.")] = 0,
    report: Annotated[Path | None, typer.Option(help="A folder for scores.md, radar.svg and curves.svg.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the experiments; run nothing.")] = False,
) -> None:
    """Score agents on the diagnostic suite: 0 is uniform writing, 1 the computed optimum."""
    from ..suite import EXPERIMENTS
    from ..table import AGENTS

    if explain:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name:12}{experiment.capability:19}{experiment.question}")
        return
    from .. import bench as suite
    from .. import scoring

    wanted = suite.jobs(_names(agents) or list(AGENTS), _names(experiments) or None, seeds, quick)
    if report is not None:  # what may be missing is missed before an hour of runs
        import matplotlib  # noqa: F401

        report.mkdir(parents=True, exist_ok=True)
    try:
        records = suite.bench(wanted, out, jobs or os.cpu_count() or 1, _note)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is done is in {out}; the same command goes on from there.", flush=True)
        raise typer.Exit(130) from None
    tables = scoring.markdown(records)
    print(f"\n{tables}")
    if report is not None:
        from .. import suite_plots

        (report / "scores.md").write_text(f"{tables}\n", encoding="utf-8")
        suite_plots.radar(records).savefig(report / "radar.svg")
        suite_plots.curves(records).savefig(report / "curves.svg")
        print(f"\nscores.md, radar.svg and curves.svg are in {report}.")
    if failed := sum("error" in record for record in records):
        print(f"\nRuns that failed, and count as 0: {failed}. To run them again, take their lines off {out}.")
    print(f"\nThe results are in {out}; textgym reproduce {out} runs them again.")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _note(record: dict[str, Any], done: int, total: int) -> None:
    """Print one line about a run."""
    shown = record.get("error") or f"score {record['score']:z.3f}, {record['seconds']:.1f} s"
    settings = " ".join(f"{key}={value}" for key, value in record["settings"].items())
    name = f"{record['experiment']} {settings}".strip()
    print(f"{done}/{total}  {name}, {record['agent']}, seed {record['seed']}: {shown}", flush=True)
