"""What the lab costs training, and how soon it answers meanwhile.

python -m benchmarks.lab      keeps the result in benchmarks/results/lab

A round trains the recipe `mnist` once in each way, in turn; a run's time is that from its first file to its
summary. The page is in Chromium, driven by Playwright, on the same cores. Exit status 1 where training loses more
than 5% to the lab, an answer takes over 50 ms or a stroke's prediction over 30 ms, by the medians.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from nnbackprop._files import write_atomically

from .lab_visitor import COMMAND, Client, chromium, drawing, environment, serving, stroke_times
from .machine import Machine
from .report import spread
from .results import RESULTS

FOLDER = RESULTS / "lab"
RECIPE = "mnist"
PLAIN, SERVED, SHOWN = "`nnbackprop train`", "in the lab", "in the lab, its page open"
MAX_LOSS, MAX_ANSWER, MAX_STROKE = 0.05, 50.0, 30.0  # of the time; milliseconds
ANSWERS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "the page itself": ("GET", "/", None),
    "the list of runs": ("GET", "/api/runs", None),
    "a step of 2-2-1": ("POST", "/api/step", {"network": "2-2-1"}),
    "a prediction, with gradient and activations": ("POST", "/api/predict", drawing()),
}
STROKE = "a point of a stroke, to its bars on the page"


def training_seconds(run: Path) -> float:
    """From a run's first file to its summary."""
    return (run / "summary.json").stat().st_mtime - (run / "config.toml").stat().st_mtime


def train_plainly(folder: Path, name: str, epochs: int) -> float:
    """Seconds of training by the command."""
    words = [*COMMAND, "train", RECIPE, "--epochs", str(epochs), "--name", name, "--progress", "off"]
    subprocess.run(words, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=True)
    return training_seconds(folder / "runs" / name)


def train_in_lab(client: Client, folder: Path, epochs: int) -> float:
    """Seconds of training in the lab."""
    client.ask("POST", "/api/train", {"recipe": RECIPE, "epochs": epochs})
    client.wait("starting", "running")
    state = client.wait("finished")
    return training_seconds(folder / "runs" / state["run"])


def measure_training(rounds: int, epochs: int) -> dict[str, list[float]]:
    """Seconds of training in each way, a number a round."""
    found: dict[str, list[float]] = {PLAIN: [], SERVED: [], SHOWN: []}
    with tempfile.TemporaryDirectory() as place, serving(folder := Path(place)) as address:
        client = Client(address)
        for k in range(rounds):
            for way in list(found)[:: 1 if k % 2 else -1]:
                if way == PLAIN:
                    found[way].append(train_plainly(folder, f"plain-{k}", epochs))
                elif way == SERVED:
                    found[way].append(train_in_lab(client, folder, epochs))
                else:
                    with chromium(address):
                        found[way].append(train_in_lab(client, folder, epochs))
    return found


def measure_answers(count: int) -> dict[str, list[float]]:
    """Milliseconds of answers while the lab trains: the first of each, then `count` more."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place, serving(Path(place)) as address:
        client = Client(address)
        client.ask("POST", "/api/train", {"recipe": RECIPE, "epochs": 1000})
        client.wait("running")
        time.sleep(2)
        for name, request in ANSWERS.items():
            found[name] = []
            for _ in range(1 + count):
                found[name].append(client.milliseconds(*request))
                time.sleep(0.02)
        with chromium(address) as page:
            found[STROKE] = stroke_times(page, 1 + count)
        client.ask("POST", "/api/control", {"action": "stop"})
        client.wait("stopped")
    return found


def losses(seconds: dict[str, list[float]], way: str) -> list[float]:
    """What training loses to the lab, of its time, a number a round."""
    return [in_lab / plain - 1 for in_lab, plain in zip(seconds[way], seconds[PLAIN], strict=True)]


def failures(found: dict[str, Any]) -> list[str]:
    """What is slower than it may be."""
    slow = [way for way in (SERVED, SHOWN) if median(losses(found["training"], way)) > MAX_LOSS]
    for name, times in found["answers"].items():
        if median(times[1:]) > (MAX_STROKE if name == STROKE else MAX_ANSWER):
            slow.append(name)
    return slow


def table(found: dict[str, Any]) -> str:
    """Both tables, with the command, the date and the machine."""
    training = found["training"]
    lines = ["| training | seconds | lost to the lab |", "|---|---|---|"]
    for way, seconds in training.items():
        lost = "" if way == PLAIN else spread(losses(training, way), "{:+.1%}".format)
        lines.append(f"| {way} | {spread(seconds, '{:.2f}'.format)} | {lost} |")
    lines += ["", "| while the lab trains | median | 95% within | the first |", "|---|---|---|---|"]
    for name, (first, *times) in found["answers"].items():
        most = quantiles(times, n=20)[-1]
        lines.append(f"| {name} | {median(times):.1f} ms | {most:.1f} ms | {first:.0f} ms |")
    made = f"{found['title']}. Made by `{found['command']}` on {found['date']}: {found['machine']}."
    return "\n".join([*lines, "", made]) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--epochs", type=int, default=5, help="of a run (default: 5)")
    parser.add_argument("--answers", type=int, default=100, help="of each kind (default: 100)")
    options = parser.parse_args(argv)
    machine = Machine.here()
    found = {
        "command": " ".join(["python -m benchmarks.lab", *(sys.argv[1:] if argv is None else argv)]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": str(machine),
        "title": f"The recipe `{RECIPE}`, {options.epochs} epochs, {options.rounds} rounds",
        "answers": measure_answers(options.answers),
        "training": measure_training(options.rounds, options.epochs),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomically(FOLDER / machine.file_name, (json.dumps(found, indent=1) + "\n").encode())
    Console().print(Markdown(table(found)))
    for name in (slow := failures(found)):
        print(f"Slower than it may be: {name}", file=sys.stderr)
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
