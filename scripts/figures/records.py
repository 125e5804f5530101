"""Records: long runs, from their run folders to a kept result, a table and a picture."""

from __future__ import annotations

import gzip
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from backends import select
from benchmarks.results import RESULTS
from nnbackprop import TrainedModel
from nnbackprop.data import Dataset
from nnbackprop.report.style import draw, new_image_grid
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_files import load_recipe
from nnbackprop.runs.run_dir import RunDir

from . import ROOT, table
from .recipes import SCORES, score_row

FOLDER = RESULTS / "records"
PICTURES = ROOT / "docs" / "figures"
COPIES = 16
"""Of `evaluate --augment`."""

PAPER = {"deformed": 0.0049, "ciresan": 0.0035}
"""Of the test part wrong: Ciresan, Meier, Gambardella and Schmidhuber, Neural Computation 2010, table 1."""

COLUMNS = 12


def keep(name: str, folders: Sequence[Path]) -> None:
    """Keep the runs of a recipe, their metrics, and a picture of what the best of them gets wrong."""
    opened = [TrainedModel.open(str(folder), backend=select("numpy")) for folder in folders]
    data = opened[0].data()
    runs = []
    for trained in opened:
        found = run_result(trained, data)
        _keep_metrics(trained.run_dir, f"{name}-{found['seed']}")
        runs.append(found)
        print(found, flush=True)
    best = min(range(len(runs)), key=lambda k: len(runs[k]["wrong"]))
    config = opened[best].config
    result = {
        "recipe": config.recipe,
        "network": "-".join(map(str, (data.n_features, *config.hidden, len(data.classes)))),
        "samples": len(data),
        "flags": flags(config),
        "copies": COPIES,
        "runs": sorted(runs, key=lambda run: run["seed"]),
    }
    _write(name, result)
    draw(PICTURES / f"{name}-wrong.png", wrong_plot, opened[best], data, runs[best]["wrong"])


def run_result(trained: TrainedModel, data: Dataset) -> dict[str, Any]:
    """Which samples of the test part a run gets wrong, alone and averaged over copies, and what it took."""
    rows = trained.run_dir.read_metrics()
    predicted = trained.predict(data.inputs)
    averaged = trained.predict_augmented(data.inputs, COPIES).argmax(axis=1)
    return {
        "seed": trained.config.seed,
        "epochs": rows[-1]["epoch"],
        "of_epochs": trained.config.epochs,
        "steps": rows[-1]["step"],
        "median_epoch": median(row["seconds"] for row in rows),
        "fastest_epoch": min(row["seconds"] for row in rows),
        "wrong": np.flatnonzero(predicted != data.targets).tolist(),
        "averaged_wrong": int(np.sum(averaged != data.targets)),
        **made_by(trained.run_dir),
    }


def made_by(run_dir: RunDir) -> dict[str, str]:
    """The machine that trained a run, and the date of its last epoch."""
    found = run_dir.read_json("env.json") or {}
    date = datetime.fromtimestamp(run_dir.metrics_path.stat().st_mtime, UTC).date().isoformat()
    machine = f"{found['processor']}, {found['cores']} cores, {found['backend']} {found['library']}"
    return {"machine": machine, "date": date}


def keep_trials(name: str, folders: Sequence[Path]) -> None:
    """Keep the score of runs on their validation part, by the settings in which they differ from the first."""
    opened = [TrainedModel.open(str(folder), backend=select("numpy")) for folder in folders]
    first, trials = opened[0].config, []
    for trained in opened:
        last = trained.run_dir.read_metrics()[-1]
        scores = {key: last[f"validation_{key}"] for key in ("loss", "accuracy")}
        trials.append({"flags": flags(trained.config, first), "epochs": last["epoch"], **scores})
    result = {
        "recipe": first.recipe,
        "flags": flags(first),
        "validation": first.validation,
        **made_by(opened[-1].run_dir),
        "trials": trials,
    }
    _write(f"{name}-trials", result)


def keep_attempts(name: str, folders: Sequence[Path]) -> None:
    """Keep what became of further runs of a recipe, on the test part, and their metrics."""
    attempts = []
    for folder in folders:
        trained = TrainedModel.open(str(folder), backend=select("numpy"))
        _keep_metrics(trained.run_dir, folder.name)
        rows = trained.run_dir.read_metrics()
        lowest = min(rows, key=lambda row: row["test_loss"])
        found = {
            "flags": flags(trained.config),
            "epochs": rows[-1]["epoch"],
            "of_epochs": trained.config.epochs,
            "lowest_loss": {key: lowest[key] for key in ("epoch", "test_loss", "test_accuracy")},
            "end": {key: rows[-1][key] for key in ("test_loss", "test_accuracy")},
        }
        attempts.append({**found, **made_by(trained.run_dir)})
    _write(f"{name}-attempts", {"recipe": name, "attempts": attempts})


def keep_data_set(name: str, folders: Sequence[Path]) -> None:
    """Keep the summaries of runs on files of the data set `name`."""
    runs = []
    for folder in folders:
        trained = TrainedModel.open(str(folder), backend=select("numpy"))
        command = f"nnbackprop train {trained.config.recipe} --data {name} {flags(trained.config)}"
        found = {**made_by(trained.run_dir), "summary": trained.run_dir.read_json("summary.json")}
        runs.append({"command": command, **found})
    _write(f"{name}-runs", runs)


def _keep_metrics(run_dir: RunDir, name: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    content = gzip.compress(run_dir.metrics_path.read_bytes(), mtime=0)
    (FOLDER / f"{name}.jsonl.gz").write_bytes(content)


def _write(name: str, result: Any) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def flags(config: Config, base: Config | None = None) -> str:
    """The flags that make `config` of `base`, or of its recipe; those of threads, seed and folders left out."""
    given, wanted = asdict(base or load_recipe(config.recipe)), asdict(config)
    names = [*config.fixed_settings, "epochs", "schedule_epochs", "backend"]
    words: list[str] = []
    for name in names:
        value = wanted[name]
        if name == "seed" or value == given[name]:
            continue
        if name == "init_from":
            value = Path(value).name
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def wrong_plot(trained: TrainedModel, data: Dataset, wrong: Sequence[int]) -> Figure:
    """The digits that a network gets wrong: what each is, and what it is taken for."""
    predicted = trained.predict(data.inputs[wrong])
    title = f"{len(wrong)} of {len(data):,} digits wrong: what each is → what it is taken for"
    figure, grid = new_image_grid(title, math.ceil(len(wrong) / COLUMNS), COLUMNS, 0.62)
    for axes, sample, said in zip(grid.flat, wrong, predicted, strict=False):
        image = data.inputs[sample].reshape(data.image_shape)
        axes.imshow(image, cmap="gray_r", interpolation="nearest")
        axes.set_title(f"{data.classes[data.targets[sample]]} → {data.classes[said]}", fontsize=8, pad=2)
    for axes in grid.flat[len(wrong) :]:
        axes.set_axis_off()
    return figure


def blocks() -> dict[str, str]:
    """The table of records, and those of the trials and of further attempts, of what is kept."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
    kinds = ("-trials", "-runs", "-attempts")
    trials, others, attempts = (
        {name.removesuffix(kind): result for name, result in results.items() if name.endswith(kind)}
        for kind in kinds
    )
    records = {name: result for name, result in results.items() if not name.endswith(kinds)}
    return {
        **{f"cnn-{name}": data_set_table(name, runs) for name, runs in others.items()},
        "records": record_table(records) if records else "",
        "record-trials": "\n".join(trial_table(name, result) for name, result in sorted(trials.items())),
        "record-attempts": "\n".join(attempt_table(name, result) for name, result in sorted(attempts.items())),
    }


def record_table(records: dict[str, dict[str, Any]]) -> str:
    """A row a result: what of the test part is wrong in the paper and here, and what it took."""
    columns = (
        "here, median",
        "each seed",
        f"mean of {COPIES} copies, median",
        "each seed",
        "epochs",
        "steps' time by the fastest epoch; by the median one",
    )
    rows, made = [], []
    for result in records.values():
        runs, n = result["runs"], result["samples"]
        wrong, averaged = ([100 * count / n for count in counts] for counts in counts_of(runs))
        cells = [
            cell
            for each in (wrong, averaged)
            for cell in (f"**{median(each):.2f}%**", ", ".join(f"{w:.2f}%" for w in each))
        ]
        epochs = " or ".join(sorted({f"{run['epochs']}" for run in runs}))
        rows.append((result["network"], f"{PAPER[result['recipe']]:.2%}", *cells, epochs, minutes(runs)))
        seeds = ", ".join(str(run["seed"]) for run in runs)
        machines = "; ".join(sorted({f"{run['machine']}, {run['date']}" for run in runs}))
        command = " ".join(filter(None, ("nnbackprop train", result["recipe"], result["flags"], "--seed S")))
        made.append(f"{result['network']}: `{command}`, S = {seeds}, on {machines}.")
    summary = ", ".join(f"`python scripts/records.py {name} RUN ...`" for name in records)
    head = ("network", "the paper", *columns)
    return f"{table(head, rows)}\n\n{' '.join(made)} Summed up by {summary}.\n"


def data_set_table(name: str, runs: Sequence[dict[str, Any]]) -> str:
    """A row a run on another data set."""
    made = "; ".join(sorted({f"{run['machine']}, {run['date']}" for run in runs}))
    kept = f"Kept by `python scripts/records.py {name} --data RUN`, of runs on {made}."
    return f"{table(SCORES, map(score_row, runs))}\n\n{kept} Training time is that of the training steps alone.\n"


def minutes(runs: Sequence[dict[str, Any]]) -> str:
    """The time of all steps, had each epoch been as fast as the fastest, and as the median one: medians.

    A sum would count how long a process was stopped.
    """
    fastest, middle = (
        median(run[f"{name}_epoch"] * run["epochs"] for run in runs) for name in ("fastest", "median")
    )
    return f"{fastest / 60:.1f} min; {middle / 60:.1f} min"


def counts_of(runs: Sequence[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """How many are wrong in each run, alone and averaged over copies."""
    return [len(run["wrong"]) for run in runs], [run["averaged_wrong"] for run in runs]


def trial_table(name: str, result: dict[str, Any]) -> str:
    """A row a trial: the settings that it changes, and the score on the validation part."""
    head = ("settings", "validation error", "validation loss", "epochs")
    rows = [
        (
            f"`{trial['flags']}`" if trial["flags"] else "those of the first",
            f"{1 - trial['accuracy']:.2%}",
            f"{trial['loss']:.4f}",
            trial["epochs"],
        )
        for trial in result["trials"]
    ]
    command = f"nnbackprop train {result['recipe']} {result['flags']}"
    return (
        f"{table(head, rows)}\n\nThe first is `{command}`. Made by `python scripts/records.py {name} --trials "
        f"RUN ...` of runs on {result['machine']}, {result['date']}.\n"
    )


def attempt_table(name: str, result: dict[str, Any]) -> str:
    """A row a run: its settings, how far it went, and the test part at its lowest loss and at the end."""
    head = (
        "settings",
        "epochs",
        "lowest test loss, its epoch, error then",
        "test loss and error at the end",
    )
    rows = []
    for run in result["attempts"]:
        lowest, end = run["lowest_loss"], run["end"]
        rows.append(
            (
                f"`{run['flags']}`",
                f"{run['epochs']} of {run['of_epochs']}",
                f"{lowest['test_loss']:.4f}, {lowest['epoch']}, {1 - lowest['test_accuracy']:.2%}",
                f"{end['test_loss']:.4f}, {1 - end['test_accuracy']:.2%}",
            )
        )
    made = "; ".join(sorted({f"{run['machine']}, {run['date']}" for run in result["attempts"]}))
    return (
        f"{table(head, rows)}\n\nOf `nnbackprop train {result['recipe']}`. Made by `python scripts/records.py "
        f"{name} --attempts RUN ...` of runs on {made}.\n"
    )
