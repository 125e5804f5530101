"""Counts of the mistakes that gradcheck names and of healthy runs.

`python -m tests.support.claims --json docs/claims.json`.

Exit status 1 if a mistake is missed, or anything healthy is accused.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from nnbackprop import gradcheck_function
from nnbackprop._system_info import cores, processor
from nnbackprop.diagnostics.gradcheck.report import Report
from tests.support import healthy_runs
from tests.support.numpy_networks.network import Network
from tests.support.numpy_networks.spec import Spec
from tests.support.numpy_networks.specs import RIGHT, WRONG


def check(spec: Spec) -> Report:
    network = Network(spec)
    return gradcheck_function(network.loss, network.grad, network.params)


def mistakes() -> dict[str, tuple[int, int, int]]:
    """By id: how many networks have it, and in how many it is caught, and named."""
    counts: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for spec in WRONG:
        report = check(spec)
        named = [mistake.id for mistake in report.mistakes][:1] == [spec.expected]
        counts[spec.expected].append((1, int(not report.passed), int(named)))
    return {id: (sum(a), sum(b), sum(c)) for id, rows in counts.items() for a, b, c in [zip(*rows, strict=True)]}


def alarms() -> dict[str, tuple[int, int, int]]:
    """By recipe: healthy runs, and the doctor's warnings and faults."""
    runs, levels = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for run in healthy_runs.RUNS:
        runs[run.recipe] += 1
        levels[run.recipe].update(finding.level for finding in healthy_runs.trained(run)[1].diagnosis.findings)
    return {recipe: (count, levels[recipe]["warning"], levels[recipe]["fault"]) for recipe, count in runs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="write the counts to this file")
    path = parser.parse_args().json
    accused = [spec.name() for spec in RIGHT if not check(spec).passed]
    found = {
        "command": f"python -m tests.support.claims --json {path}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{processor()}, {cores()} cores, Python {platform.python_version()}, NumPy {np.__version__}",
        "mistakes": mistakes(),
        "right": len(RIGHT),
        "accused": len(accused),
        "alarms": alarms(),
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    missed = [id for id, (networks, caught, _) in found["mistakes"].items() if caught < networks]
    loud = [recipe for recipe, (_, *levels) in found["alarms"].items() if any(levels)]
    print(f"missed: {missed}; accused: {accused}; false alarms: {loud}")
    return int(bool(missed or accused or loud))


if __name__ == "__main__":
    sys.exit(main())
