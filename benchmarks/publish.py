"""Results as docs/runs keeps them: all numbers of a run, compressed without loss, and nothing about where it ran.

python -m benchmarks.publish RUN [RUN ...] [--to docs/runs]

RUN is a folder as `lossviz plot` takes them. Weights, directions and figures stay behind. So do the machine's name and
the command line in run.json, and all but the last name of every absolute path in configurations and attributes.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossviz.config.reading import dump
from lossviz.files import atomic_write, sealed_text
from lossviz.results import load_results, save_results
from lossviz.run import Run, find_runs

# Of each stage in run.json.
_LEFT_OUT = ("command", "own_code")
_ABSOLUTE = re.compile(r"(?<![\w./*-])/(?:[\w.+-]+/)*([\w.+-]+)")


def publish(run: Run, to: Path) -> list[Path]:
    """Copy what figures and tables need of a run to a folder of its experiment and variant; the files written."""
    target = Run(to / run.experiment / run.variant)
    atomic_write(target.config_file, sealed_text(without_places(dump(run.config()))))
    atomic_write(target.record_file, (json.dumps(without_machine(run.record()), indent=1) + "\n").encode())
    files = [path for path in (run.train_file, run.probe_file, *run.surface_files) if path.exists()]
    for path in files:
        results = load_results(path)
        results.attrs = {
            name: without_places(value) if isinstance(value, str) else value for name, value in results.attrs.items()
        }
        save_results(target.folder / path.name, results, compressed=True)
    return [target.config_file, target.record_file, *(target.folder / path.name for path in files)]


def without_places(text: str) -> str:
    """The last name of every absolute path: /home/someone/data becomes data."""
    return _ABSOLUTE.sub(r"\1", text)


def without_machine(record: dict[str, Any]) -> dict[str, Any]:
    """run.json without command lines and the machine's name; processor, versions, times and fingerprints stay."""
    kept: dict[str, Any] = {}
    for stage, facts in record.items():
        if isinstance(facts, dict):
            kept[stage] = {name: value for name, value in facts.items() if name not in _LEFT_OUT}
            if "machine" in facts:
                kept[stage]["machine"] = {name: value for name, value in facts["machine"].items() if name != "host"}
        else:
            kept[stage] = facts
    return kept


def provenance(runs: Sequence[Run]) -> str:
    """What made the results of some runs, by stage, as Markdown; the time is that of the last session of a stage."""
    lines = ["| run | stage | status | machine | precision | time | torch | lossviz |", "| --- " * 8 + "|"]
    for run in runs:
        for stage, facts in run.record().items():
            if isinstance(facts, dict) and "compute" in facts:
                compute, versions = facts["compute"], facts["versions"]
                cells = [f"{run.experiment}/{run.variant}", stage, facts["status"], compute["device_name"]]
                cells += [compute["precision"], f"{facts.get('seconds', 0) / 3600:.2f} h", versions["torch"]]
                lines.append(f"| {' | '.join([*cells, facts['code'].removeprefix('sha256:')[:8]])} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish; say how large it is, and what made it."""
    parser = argparse.ArgumentParser(description="results of runs for docs/runs")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--to", type=Path, default=Path("docs/runs"))
    chosen = parser.parse_args(arguments)
    runs = [run for path in chosen.runs for run in find_runs(path)]
    for run in runs:
        for path in publish(run, chosen.to):
            sys.stdout.write(f"{path}: {path.stat().st_size / 1e3:,.1f} kB\n")
    sys.stdout.write(f"\n{provenance(runs)}")


if __name__ == "__main__":
    main()
