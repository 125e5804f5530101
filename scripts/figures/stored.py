"""Figures that others keep: the benchmark's results, and what tests write by --json."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.augmentation import FOLDER as AUGMENTATION
from benchmarks.augmentation import table as augmentation_table
from benchmarks.busy import FOLDER as BUSY
from benchmarks.busy import table as busy_table
from benchmarks.lab import FOLDER as LAB
from benchmarks.lab import table as lab_table
from benchmarks.large import FOLDER as LARGE
from benchmarks.large import table as large_table
from benchmarks.processes import FOLDER as PROCESSES
from benchmarks.processes import table as processes_table
from benchmarks.report import made_by, pages, summary, timing_table
from benchmarks.results import Result, Timing, saved
from benchmarks.to_accuracy import FOLDER as TO_ACCURACY
from benchmarks.to_accuracy import table as accuracy_table
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES, ROWS

from . import ROOT, table

CHART = ROOT / "docs" / "figures" / "performance.png"
CLAIMS = ROOT / "docs" / "claims.json"
LAYERS = ROOT / "docs" / "layer-mistakes.json"
NODES = ROOT / "docs" / "nodes.json"
RELIABILITY = ROOT / "docs" / "reliability.json"

SEE = {
    "activation-derivative-missing": "[lesson 4](course/4-activations.md)",
    "dropout-mask-missing": "[the derivation](derivation.md#what-does-dropout-do-to-the-gradient)",
    "l2-missing": "[lesson 6](course/6-penalty-and-accuracy.md)",
    "missing-batch-mean": "[lesson 3](course/3-matrices.md)",
    "normalization-terms-missing": "[lesson 7](course/7-batch-normalization.md)",
    "softmax-diagonal": "[the derivation](derivation.md#what-goes-wrong-with-the-diagonal-alone) and "
    "[lesson 5](course/5-softmax.md)",
    "weight-transposed": "[the derivation](derivation.md#which-side-gets-the-transpose)",
}
"""Where the pages derive what a mistake gets wrong."""


def blocks() -> dict[str, str]:
    """Of docs/performance.md, README.md and the pages on verification, reliability and mistakes."""
    return {
        **speed(),
        **claims(),
        "lab": "\n".join(map(lab_table, _kept(LAB))),
        "large": "\n".join(
            large_table(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(LARGE.glob("*.json"))
        ),
        "nodes": nodes(),
        "processes": "\n".join(map(processes_table, _kept(PROCESSES))),
        "reliability": reliability(),
        "layer-mistakes": layer_mistakes(),
        "mistakes-by-symptom": mistakes_by_symptom(),
    }


def speed() -> dict[str, str]:
    """CPUs and GPUs apart; a GPU's blocks are empty where none was measured."""
    results = saved()
    gpus = [result for result in results if result.machine.gpu]
    cpus = [result for result in results if not result.machine.gpu]
    return {
        "augmentation": "\n".join(map(augmentation_table, _kept(AUGMENTATION))),
        "busy": "\n".join(map(busy_table, _kept(BUSY))),
        "to-accuracy": "\n".join(map(accuracy_table, _kept(TO_ACCURACY))),
        "performance": pages(cpus),
        "performance-summary": summary(cpus[0]),
        "beside-pytorch": _beside_pytorch(cpus[0], saved("convolutions")[0]),
        "convolutions": "\n".join(map(_one_workload, saved("convolutions"))),
        "gpu": pages(gpus),
        "gpu-summary": "\n\n".join([*map(timing_table, gpus[0].timings), ""]) if gpus else "",
    }


def _beside_pytorch(suite: Result, convolutions: Result) -> str:
    """The times of PyTorch divided by ours, the faster of its rows at each network."""

    def ratio(timing: Timing) -> float:
        theirs = (row for row in timing.rows if row.kind != "ours" and row.title.startswith("PyTorch"))
        return min(median(row.ratios(timing.base)) for row in theirs)

    dense = [ratio(timing) for timing in suite.timings if timing.workload != "CNN"]
    (cnn,) = convolutions.timings
    return (
        f"By the faster of its two rows, PyTorch takes {min(dense):.2f} to {max(dense):.2f} times as long as ours "
        f"with NumPy and numba at the {len(dense)} dense networks, and {ratio(cnn):.2f} times as long at the "
        "convolutional one, which was measured again [later](#convolutions).\n"
    )


def _one_workload(result: Result) -> str:
    """The table of a run of one workload."""
    return f"{timing_table(result.timings[0])}\n\n{made_by(result)}\n"


def _kept(folder: Path) -> list[dict[str, Any]]:
    """The results in a folder, a file a machine."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def draw() -> None:
    """The chart of the first CPU's results."""
    from benchmarks.chart import draw

    draw(next(result for result in saved() if not result.machine.gpu), CHART)


def claims() -> dict[str, str]:
    """Mistakes by id, and what the doctor says of healthy runs: from `python -m tests.support.claims`."""
    found = json.loads(CLAIMS.read_text(encoding="utf-8"))
    made = f"Made by `{found['command']}` on {found['machine']}, {found['date']}."
    mistakes, alarms = found["mistakes"], found["alarms"]
    networks, caught, named = (sum(row[i] for row in mistakes.values()) for i in range(3))
    total = (f"**all {len(mistakes)}**", f"**{networks}**", f"**{caught}**", f"**{named}**")
    head = ("mistake", "networks", "caught", "named")
    healthy = tuple(f"**{sum(row[i] for row in alarms.values())}**" for i in range(3))
    return {
        "mistakes": f"{table(head, [*((id, *row) for id, row in mistakes.items()), total])}\n\n"
        f"Of {found['right']} right networks **{found['accused']}** were accused.\n\n{made}\n",
        "alarms": table(
            ("recipe", "healthy runs", "warnings", "faults"),
            [*((recipe, *row) for recipe, row in alarms.items()), ("**all**", *healthy)],
        )
        + f"\n\n{made}\n",
    }


def mistakes_by_symptom() -> str:
    """The catalogue of gradcheck, a section each, for samples in rows; layers of images have their own."""
    sections, of_layers = [], json.loads(LAYERS.read_text(encoding="utf-8"))["mistakes"]
    for id, entry in MISTAKES.items():
        symptom, cause, fix = (entry[part].replace("*", "\\*") for part in ("symptom", "cause", "fix"))
        if id != "unknown" and id not in of_layers:
            see = f" See {SEE[id]}." if id in SEE else ""
            sections.append(f"### {symptom}\n\n`{id}`. {cause}{see}\n\n> {fix.format(**ROWS)}\n")
    return "\n".join(sections)


def layer_mistakes() -> str:
    """From `python -m tests.support.layer_mistakes.planted --json`: both lines and the report of each."""
    found = json.loads(LAYERS.read_text(encoding="utf-8"))
    sections = []
    for id, entry in found["mistakes"].items():
        named = f"`{id}`. " if id in MISTAKES else ""
        sections.append(
            f"### {entry['symptom']}\n\n{named}{entry['cause']} See ({entry['equation']}) of "
            f"[the derivation](derivation-layers.md).\n\n```diff\n- {entry['wrong']}\n+ {entry['right']}\n```\n\n"
            f"```text\n{entry['says']}\n```\n\nTrained so: {entry['accuracy']:.1%} right, with the right line "
            f"{found['right'][entry['network']]:.1%}.\n"
        )
    made = f"{found['training']}. Made by `{found['command']}` on {found['machine']}, {found['date']}."
    return "\n".join([*sections, made, ""])


def nodes() -> str:
    """From `python -m tests.support.cuda_emulator nodes --json`."""
    found = json.loads(NODES.read_text(encoding="utf-8"))
    steps, counts = found["steps"], found["nodes"]
    rows = [(f"`{kernel}`", number, f"{number / steps:.2f}") for kernel, number in counts.items()]
    total = sum(counts.values())
    rows.append(("**all**", f"**{total}**", f"**{total / steps:.1f}**"))
    made = f"Made by `{found['command']}` with CuPy {found['cupy']}, {found['date']}."
    return (
        f"{found['workload']}:\n\n"
        + table(("kernel", f"nodes of a graph of {steps} steps", "nodes a step"), rows)
        + f"\n\n{made}\n"
    )


def reliability() -> str:
    """From `python -m tests.stress --json`."""
    found = json.loads(RELIABILITY.read_text(encoding="utf-8"))
    made = f"Made by `{found['command']}` on {found['machine']}, {found['date']}."
    trials = (f"{what:<22} {result}" for what, result in found["trials"])
    return "\n".join(["```text", *trials, "```", "", made, ""])
