"""What the page asks for, a method a request; each returns what JSON is made of."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnbackprop.errors import NnbackpropError, UsageError
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.runs.run_table import RunInfo, list_runs

from . import breaking, looking, options, prediction, stepping
from .drawings import Drawings
from .messages import Break, Control, Keep, Look, Predict, Step, Train, encode, picture
from .models import Models
from .session import Session


class Lab:
    """The runs of a folder, the trainer, the trained networks and one's own drawings."""

    def __init__(self, runs_dir: Path, run: str | None = None) -> None:
        self.drawings = Drawings(runs_dir / "lab-drawings")
        self.session = Session(runs_dir, self.drawings)
        self.models = Models(runs_dir, self.session)
        self.session.on_saved = self.warm_up
        if run is not None:
            self.session.show(self._name(RunDir.open(runs_dir, run)))

    def _name(self, run_dir: RunDir) -> str:
        """A run's name in `runs_dir`; UsageError for a folder that lies elsewhere."""
        path, runs_dir = run_dir.path.absolute(), self.session.runs_dir.absolute()
        if path.parent != runs_dir:
            raise UsageError(f"{path} is not in {runs_dir}: give --runs-dir {path.parent} to open the lab there.")
        return path.name

    def warm_up(self, run: str | None = None) -> None:
        """Answer what the page asks first, and a drawing, so that neither waits for imports, compilers and files.

        The drawing by the network of a run, or by the one that would answer now, if there is any.
        """
        self.options()
        prediction.warm_up()
        with contextlib.suppress(NnbackpropError):
            encode(self.predict(prediction.example(run)))

    def close(self) -> None:
        """Stop and save the run under way."""
        self.session.close()

    def options(self) -> dict[str, Any]:
        """What there is to choose from."""
        return {**options.options(), "step": stepping.options(), "drawings": self.drawings.to_json()}

    def backends(self) -> dict[str, Any]:
        """The array libraries that work here."""
        return options.backends()

    def runs(self) -> dict[str, Any]:
        """The runs of the folder, the newest last."""
        return {"runs": [_run(info) for info in list_runs(self.session.runs_dir).runs if not info.problem]}

    def network(self) -> dict[str, Any]:
        """Whether there is a network that would answer a drawing now."""
        try:
            self.models.digits(None)
        except NnbackpropError:
            return {"network": False}
        return {"network": True}

    def train(self, request: Train) -> dict[str, Any]:
        """Begin a run."""
        self.session.train(request)
        return self._state()

    def control(self, request: Control) -> dict[str, Any]:
        """Steer the trainer."""
        self.session.control(request)
        return self._state()

    def predict(self, request: Predict) -> dict[str, Any]:
        """Classify a drawing."""
        return prediction.predict(self.models.digits(request.run), request)

    def step(self, request: Step) -> dict[str, Any]:
        """A step of a small network, every number of it."""
        return stepping.step(request)

    def break_(self, request: Break) -> dict[str, Any]:
        """A small network with a mistake."""
        return breaking.break_(request)

    def look(self, request: Look) -> dict[str, Any]:
        """A view of a trained run."""
        return looking.look(self.models, request)

    def keep(self, request: Keep) -> dict[str, Any]:
        """Keep a drawing, or forget the last."""
        if request.forget is not None:
            self.drawings.forget_last()
            return {"drawings": self.drawings.to_json()}
        if request.drawing is None or request.label is None:
            raise UsageError("A drawing is kept with its label: send both, or forget the last.")
        digit = self.drawings.add(request.drawing.array(), request.label)
        return {"drawings": self.drawings.to_json(), "picture": picture(digit)}

    def _state(self) -> dict[str, Any]:
        return {"state": asdict(self.session.state)}


def _run(info: RunInfo) -> dict[str, Any]:
    score = {name: value for name, value in info.score.items() if name != "loss"} or info.score
    name, value = next(iter(score.items()), (None, None))
    return {
        "name": info.name,
        "recipe": info.config.recipe if info.config else "",
        "status": info.status,
        "score": None if name is None else {"name": name, "value": value},
        "epochs": info.epochs,
        "age_seconds": max(0.0, time.time() - info.changed),
    }
