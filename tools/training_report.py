"""The course of a training run: loss and rate over hours, as a table and a plot.

    python tools/training_report.py RUN/log.ndjson --name tian2023-lite -o docs/results/training

Lines of the log with a figure that is not finite are counted and left out of the means.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
from machine import machine_facts
from report_files import beside, write_report

mpl.use("svg")

from matplotlib import pyplot as plt

WINDOW = 10


def averages(lines: list[dict[str, Any]], key: str) -> list[float]:
    """Return the running mean over WINDOW log lines, to see through the noise of batches."""
    values = [float(line[key]) for line in lines]
    return [
        sum(values[max(0, i - WINDOW + 1) : i + 1]) / len(values[max(0, i - WINDOW + 1) : i + 1])
        for i in range(len(values))
    ]


def plot(lines: list[dict[str, Any]], path: Path) -> None:
    """Loss over hours, stage by stage."""
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, group in groupby(lines, key=lambda line: str(line["stage"])):
        stage = [line for line in group if line["stage"] != "flow"]
        if stage:
            axis.plot([line["hours"] for line in stage], averages(stage, "loss"), label=name)
    axis.set_xlabel("hours")
    axis.set_ylabel("loss (mean of the last 200 steps)")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path)
    plt.close(figure)


def _is_finite(line: dict[str, Any]) -> bool:
    return all(math.isfinite(v) for v in line.values() if isinstance(v, float))


def _decibels(final: dict[str, float]) -> str:
    return f"{final['psnr']:.2f}" if "psnr" in final else "-"


def main() -> None:
    """Parse arguments, write JSON, Markdown and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--name", required=True, help="of the bundle that was trained")
    parser.add_argument("-o", "--output", type=Path, required=True, help="without suffix")
    arguments = parser.parse_args()
    every = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    lines = [line for line in every if _is_finite(line)]
    stages = []
    for name, group in groupby(lines, key=lambda line: str(line["stage"])):
        stage = list(group)
        last = stage[-WINDOW:]
        keys = [k for k in last[0] if isinstance(last[0][k], float) and k != "hours"]
        stages.append(
            {
                "stage": name,
                "steps": stage[-1]["step"],
                "hours_at_end": stage[-1]["hours"],
                "final": {k: sum(float(x[k]) for x in last) / len(last) for k in keys},
            }
        )
    record = {
        "machine": machine_facts(),
        "bundle": arguments.name,
        "lines": len(every),
        "lines_not_finite": len(every) - len(lines),
        "stages": stages,
    }
    table = [
        f"# Training of {arguments.name}",
        "",
        f"{stages[-1]['hours_at_end']:.2f} hours on a machine that did other work, too. Figures "
        "are means over the last 200 steps of a stage.",
        "",
        "| stage | steps | hours so far | loss | PSNR (dB) |",
        "|---|---|---|---|---|",
    ]
    for stage in stages:
        final = stage["final"]
        table.append(
            f"| {stage['stage']} | {stage['steps']} | {stage['hours_at_end']:.2f} "
            f"| {final['loss']:.3f} | {_decibels(final)} |"
        )
    picture = beside(arguments.output, ".svg")
    write_report(arguments.output, record, "\n".join([*table, "", f"![loss]({picture.name})", ""]))
    plot(lines, picture)


if __name__ == "__main__":
    main()
