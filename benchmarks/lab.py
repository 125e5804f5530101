"""What the lab costs training, and how soon it answers meanwhile.

python -m benchmarks.lab      keeps the result in benchmarks/results/lab

A round trains the recipe `mnist` once in each way, in turn, on one thread; what a run takes is counted from its
first file to its summary. CPU seconds count: on cores that are all busy, what one process takes others lose. The
page is in Chromium, driven by Playwright, on the same cores, which draw it too; it is opened some seconds before
the run. Exit status 1 where training loses more than 5% to the lab, its page open or not, an answer takes over
50 ms or a stroke's prediction over 30 ms, by the medians.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from rich.console import Console
from rich.markdown import Markdown

from .kept import keep, made_by, origin
from .lab_visitor import COMMAND, Client, chromium, drawing, environment, serving, stroke_times
from .machine import Machine
from .report import spread
from .results import RESULTS

FOLDER = RESULTS / "lab"
RECIPE = "mnist"
PLAIN, SERVED, SHOWN = "`nnbackprop train`", "in the lab", "in the lab, its page open"
MAX_WAIT, POLL = 120.0, 0.01  # seconds for a run to write a file; between two looks for it
SETTLING = 5.0  # seconds in which a browser that has just begun is busy with itself
MAX_LOSS, MAX_ANSWER, MAX_STROKE = 0.05, 50.0, 30.0  # of the time; milliseconds
ANSWERS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "the page itself": ("GET", "/", None),
    "the list of runs": ("GET", "/api/runs", None),
    "a step of 2-2-1": ("POST", "/api/step", {"network": "2-2-1"}),
    "a prediction, with gradient and activations": ("POST", "/api/predict", drawing()),
}
STROKE = "a point of a stroke, to its bars on the page"


@dataclass(frozen=True)
class Cost:
    """What a run took: seconds, CPU seconds of the process that trains, and of those that serve and show."""

    seconds: float
    trainer: float
    others: float

    @property
    def cpu(self) -> float:
        """CPU seconds of all."""
        return self.trainer + self.others


def cost(trainer: Callable[[], psutil.Process], others: Sequence[psutil.Process], folder: Path) -> Cost:
    """Of the run in `folder`, from its first file to its summary."""
    first, last = folder / "config.toml", folder / "summary.json"
    wait_for(first)
    process = trainer()
    before = cpu_seconds([process]), cpu_seconds(others)
    wait_for(last)
    after = cpu_seconds([process]), cpu_seconds(others)
    return Cost(last.stat().st_mtime - first.stat().st_mtime, after[0] - before[0], after[1] - before[1])


def wait_for(path: Path) -> None:
    """Return once the file is there."""
    end = time.monotonic() + MAX_WAIT
    while not path.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"{path} has not come in {MAX_WAIT:.0f} s")
        time.sleep(POLL)


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """That processes have used so far, without their children."""
    times = [process.cpu_times() for process in processes if process.is_running()]
    return sum(t.user + t.system for t in times)


def train_plainly(folder: Path, name: str, epochs: int) -> Cost:
    """By the command."""
    words = [*COMMAND, "train", RECIPE, "--epochs", str(epochs), "--name", name, "--progress", "off"]
    with subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.DEVNULL) as process:
        return cost(lambda: psutil.Process(process.pid), (), folder / "runs" / name)


def train_in_lab(client: Client, folder: Path, epochs: int, browser: Sequence[psutil.Process] = ()) -> Cost:
    """In the lab."""
    client.ask("POST", "/api/train", {"recipe": RECIPE, "epochs": epochs})
    state = client.wait("running")
    server = psutil.Process(client.server)

    def trainer() -> psutil.Process:
        return max(
            (p for p in server.children() if "spawn_main" in " ".join(p.cmdline())), key=psutil.Process.create_time
        )

    found = cost(trainer, [server, *browser], folder / "runs" / state["run"])
    client.wait("finished")
    return found


def measure_training(rounds: int, epochs: int) -> dict[str, list[Cost]]:
    """What a run takes in each way, in each round."""
    found: dict[str, list[Cost]] = {PLAIN: [], SERVED: [], SHOWN: []}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        serving(folder := Path(place)) as (address, server),
    ):
        client = Client(address, server)
        for k in range(rounds):
            for way in list(found)[:: 1 if k % 2 else -1]:
                if way == PLAIN:
                    found[way].append(train_plainly(folder, f"plain-{k}", epochs))
                elif way == SERVED:
                    found[way].append(train_in_lab(client, folder, epochs))
                else:
                    with chromium(address):
                        time.sleep(SETTLING)
                        own = psutil.Process().children(recursive=True)
                        browser = [process for process in own if "chrom" in process.name()]
                        found[way].append(train_in_lab(client, folder, epochs, browser))
    return found


def measure_answers(count: int) -> dict[str, list[float]]:
    """Milliseconds of answers while the lab trains: the first of each, then `count` more."""
    found: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        serving(Path(place)) as (address, server),
    ):
        client = Client(address, server)
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


def losses(costs: dict[str, list[Cost]], way: str, part: str) -> list[float]:
    """What the lab costs, of the CPU seconds of a run by the command, a number a round.

    `part` is trainer, for what the run itself takes longer, or others.
    """
    pairs = zip(costs[way], costs[PLAIN], strict=True)
    return [getattr(lab, part) / plain.trainer - (part == "trainer") for lab, plain in pairs]


def _lost(costs: dict[str, list[Cost]], way: str) -> list[float]:
    """By both parts together."""
    return [t + o for t, o in zip(losses(costs, way, "trainer"), losses(costs, way, "others"), strict=True)]


def _costs(found: dict[str, Any]) -> dict[str, list[Cost]]:
    return {way: [Cost(**one) for one in every] for way, every in found["training"].items()}


def failures(found: dict[str, Any]) -> list[str]:
    """What is slower than it may be."""
    costs = _costs(found)
    slow = [way for way in (SERVED, SHOWN) if median(_lost(costs, way)) > MAX_LOSS]
    for name, times in found["answers"].items():
        if median(times[1:]) > (MAX_STROKE if name == STROKE else MAX_ANSWER):
            slow.append(name)
    return slow


def table(found: dict[str, Any]) -> str:
    """Both tables, with the command, the date and the machine."""
    costs = _costs(found)
    lines = [
        "| training | seconds | CPU seconds | lost | in the run | by server and page |",
        "|---|---|---|---|---|---|",
    ]
    for way, every in costs.items():
        seconds, cpu = (spread([getattr(c, n) for c in every], "{:.1f}".format) for n in ("seconds", "cpu"))
        parts = (losses(costs, way, part) for part in ("trainer", "others"))
        lost = [spread(shares, "{:.1%}".format) for shares in (_lost(costs, way), *parts)]
        lines.append(f"| {way} | {seconds} | {cpu} | {' | '.join(lost if way != PLAIN else [''] * 3)} |")
    lines += ["", "| while the lab trains | median | 95% within | the first |", "|---|---|---|---|"]
    for name, (first, *times) in found["answers"].items():
        most = quantiles(times, n=20)[-1]
        lines.append(f"| {name} | {median(times):.1f} ms | {most:.1f} ms | {first:.0f} ms |")
    made = f"{found['title']}. {made_by(found)}"
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
        **origin("benchmarks.lab", argv, machine),
        "title": f"The recipe `{RECIPE}`, {options.epochs} epochs, {options.rounds} rounds",
        "answers": measure_answers(options.answers),
        "training": {
            way: [asdict(one) for one in every]
            for way, every in measure_training(options.rounds, options.epochs).items()
        },
    }
    keep(FOLDER, machine, found)
    Console().print(Markdown(table(found)))
    for name in (slow := failures(found)):
        print(f"Slower than it may be: {name}", file=sys.stderr)
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
