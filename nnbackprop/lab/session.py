"""One trainer, and all who watch it: the process that trains, what it has told, and the pages that are told it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nnbackprop.errors import NnbackpropError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_checks import check_config
from nnbackprop.runs.config_files import load_run_config, recipes, resolve
from nnbackprop.runs.run_dir import RunDir

from .controls import Mode
from .drawings import Drawings
from .errors import busy, missing, unusable
from .events import ACTIVE, History, State
from .messages import Control, Train
from .saved_history import saved_history
from .trainer_process import TrainerProcess
from .watchers import Watcher, Watchers
from .worker import Job

FOLLOW_INTERVAL = 0.5  # seconds between two looks at the files of a run that another process trains
PAUSED_WAIT = 1.0  # seconds at most that a prediction waits for the weights of a run that stands still


class Session:
    """The trainer of a server, one at a time. Its methods may be called from any thread."""

    def __init__(self, runs_dir: Path, drawings: Drawings) -> None:
        self.runs_dir, self.drawings = runs_dir, drawings
        self.history = History()
        # called as a run has begun, with its weights on disk
        self.on_saved: Callable[[str], None] = lambda run: None
        self.params: tuple[int, Params] | None = None  # the weights of the run under way, after so many steps
        self._lock = threading.RLock()
        self._watchers = Watchers()
        self._trainer: TrainerProcess | None = None
        self._params_asked, self._params_came = False, threading.Condition(self._lock)
        self._reset_wanted = False

    @property
    def state(self) -> State:
        """Where the trainer is."""
        return self.history.state

    @property
    def active(self) -> bool:
        """Whether a run is under way in this server's trainer."""
        return self.state.status in ACTIVE and not self.state.elsewhere

    @property
    def _run_name(self) -> str:
        return self.state.run or "A run"

    # Watching

    def watch(self, watcher: Watcher) -> None:
        """Tell a page all that was, and from here on all that happens."""
        with self._lock:
            self._watchers.add(watcher, "history", self.history.to_json())

    def unwatch(self, watcher: Watcher) -> None:
        """The page is gone."""
        with self._lock:
            self._watchers.remove(watcher)

    def close_watchers(self) -> None:
        """End every page's connection, as the server ends."""
        with self._lock:
            self._watchers.close()

    def publish(self, kind: str, data: Any) -> None:
        """Keep an event, and tell every page."""
        with self._lock:
            self.history.add(kind, data)
            self._watchers.tell(kind, data)

    def _set_state(self, **changes: Any) -> None:
        self.history.state = replace(self.state, **changes)
        self._watchers.tell("state", asdict(self.state))

    # Training

    def train(self, request: Train) -> None:
        """Begin a new run; UsageError where the settings cannot be."""
        if request.recipe not in recipes():
            raise UsageError(f"{request.recipe!r} is no recipe. Known are {', '.join(recipes())}.")
        settings = request.settings() | {"runs_dir": str(self.runs_dir), "doctor": True, "progress": "off"}
        if request.data == "drawings":
            settings |= {"data": str(self.drawings.folder_to_train_on()), "name": "drawings"}
        config = resolve(request.recipe, settings)
        check_config(config)
        self._start(Job(config=config), recipe=config.recipe, config=config)

    def control(self, request: Control) -> None:
        """Do what the page asks for; RequestError where that does not go with the state."""
        action = request.action
        if action in ("resume", "step") and not self.active:
            self.resume(request.run, request.epochs, "run" if action == "resume" else "step")
            return
        with self._lock:
            if action == "reset":
                self._reset()
            elif action == "set":
                self._change(request)
            elif request.run is not None or request.epochs is not None:
                raise busy("other-goes-on", run=self._run_name)
            else:
                self._send_mode({"pause": "pause", "resume": "run", "step": "step", "stop": "stop"}[action])

    def resume(self, run: str | None, epochs: int | None = None, mode: Mode = "run") -> None:
        """Go on with a run that exists, the one on show if none is named."""
        name = run or self.state.run
        if name is None:
            raise missing("nothing-to-resume")
        run_dir = self.run_dir(name)
        self._wait_for_last()
        if not self.active and run_dir.in_use:
            raise busy("elsewhere", run=name)
        path, config = run_dir.path, load_run_config(run_dir.config_path)
        if name != self.state.run:
            self.show(name)
        overrides = {"doctor": True, "progress": "off"} | ({} if epochs is None else {"epochs": epochs})
        job = Job(run=str(path), overrides=overrides, runs_dir=str(self.runs_dir), mode=mode)
        self._start(job, recipe=config.recipe, config=config, run=name)

    def run_dir(self, name: str) -> RunDir:
        """The folder of a run of this name in `runs_dir`; never one elsewhere."""
        if (
            Path(name).name != name
            or name in ("", ".", "..")
            or not (self.runs_dir / name / "config.toml").is_file()
        ):
            raise missing("no-run", run=name[:100], folder=str(self.runs_dir))
        return RunDir.open(self.runs_dir, str(self.runs_dir / name))

    def show(self, name: str) -> None:
        """Put a run of the disk on show, and follow it where another process is training it now."""
        run_dir = self.run_dir(name)
        self._wait_for_last()
        history = saved_history(run_dir)
        with self._lock:
            if self.active:
                raise busy("other-is-shown", run=self._run_name)
            self.history, self.params = history, None
            self._watchers.tell("history", history.to_json())
        if history.state.elsewhere:
            threading.Thread(target=self._follow, args=(run_dir, history), daemon=True).start()

    def _follow(self, run_dir: RunDir, history: History) -> None:
        """Tell of the epochs that another process writes, until it ends or another run is shown."""
        shown = history.state.epoch
        while self.history is history and history.state.elsewhere:
            time.sleep(FOLLOW_INTERVAL)
            try:
                now = saved_history(run_dir)
            except NnbackpropError:  # a file that is just being replaced, or all of them are gone
                if run_dir.config_path.is_file():
                    continue
                now = History()
                now.state = replace(history.state, status="stopped", elsewhere=False)
            with self._lock:
                if self.history is not history:
                    return
                if rows := [row for row in now.epochs if row["epoch"] > shown]:
                    self.publish("progress", {"chunks": [], "epochs": rows})
                    shown = rows[-1]["epoch"]
                if now.state != history.state:
                    self._set_state(**asdict(now.state))

    def ask_params(self) -> None:
        """Ask for the weights as they stand; `params` has them after the chunk under way, in a pause on return."""
        with self._lock:
            self._ask_params()
            if self.state.status == "paused":
                self._params_came.wait_for(self._has_params_of_pause, PAUSED_WAIT)

    def _ask_params(self) -> None:
        if self.active and not self._params_asked:
            self._params_asked = self._send("params", None)

    def _has_params_of_pause(self) -> bool:
        """Whether the weights are those of the step that the run stands at; if not, they are asked for."""
        if self.state.status != "paused" or (self.params is not None and self.params[0] == self.state.step):
            return True
        self._ask_params()
        return False

    def close(self) -> None:
        """Stop the run under way, and wait until it is saved."""
        with self._lock:
            trainer = self._trainer
            self._send("mode", "stop")
        if trainer is not None:
            trainer.join()
        self.close_watchers()

    def _start(self, job: Job, *, recipe: str, config: Config, run: str | None = None) -> None:
        self._wait_for_last()
        with self._lock:
            if self.active:
                raise busy("other-begins", run=self._run_name)
            self._trainer = trainer = TrainerProcess(job)
            self.params, self._params_asked = None, False
            if run is None:  # what is on show is the last run's
                self.history = History()
                self._watchers.tell("history", self.history.to_json())
            self._set_state(
                status="starting",
                run=run,
                recipe=recipe,
                epochs=config.epochs,
                lr=config.lr if isinstance(config.lr, float) else None,
                dropout=config.dropout,
                reason=None,
                error=None,
                elsewhere=False,
            )
            threading.Thread(target=self._receive, args=(trainer,), daemon=True).start()

    def _wait_for_last(self) -> None:
        """Let a trainer whose run has ended draw its plots and let go of the run's folder."""
        if self._trainer is not None and not self.active:
            self._trainer.join()

    def _receive(self, trainer: TrainerProcess) -> None:
        """Take what the trainer tells until it is gone."""
        saved = False
        for kind, data in trainer.messages():
            with self._lock:
                if kind == "params":
                    self.params = data
                    self._params_asked = False
                    self._params_came.notify_all()
                elif kind == "state":
                    self.history.state = State(**data)
                    self._watchers.tell("state", data)
                elif kind == "end":
                    self._end(data)
                else:
                    self.publish(kind, data)
            if kind == "progress" and not saved and self.state.run is not None:
                saved = True
                threading.Thread(target=self.on_saved, args=(self.state.run,)).start()
        with self._lock:
            if self._trainer is trainer and self.active:
                self._end({"state": {"status": "failed", "error": trainer.death}, "summary": None})

    def _end(self, data: Mapping[str, Any]) -> None:
        self.history.state = replace(self.state, **data["state"])
        self._watchers.tell("end", {"state": asdict(self.state), "summary": data["summary"]})
        if self._reset_wanted:
            self._reset()

    def _reset(self) -> None:
        self._reset_wanted = self.active
        if self.active:
            self._send_mode("stop")
            return
        self.history, self.params = History(), None
        self._watchers.tell("history", self.history.to_json())

    def _change(self, request: Control) -> None:
        if request.lr is None and request.dropout is None:
            raise UsageError("Nothing to set was given: name lr, dropout or both.")
        if not self.active:
            raise busy("nothing-to-change")
        if request.lr is not None:
            self._send("lr", request.lr)
        if request.dropout is not None:
            if self.state.run is not None and len(request.dropout) != len(self.state.dropout):
                raise unusable("dropout-count", layers=len(self.state.dropout), rates=len(request.dropout))
            self._send("dropout", request.dropout)

    def _send_mode(self, mode: str) -> None:
        if self.state.elsewhere:
            raise busy("elsewhere", run=self._run_name)
        if not self.active:
            raise busy("nothing-runs")
        self._send("mode", mode)

    def _send(self, command: str, value: Any) -> bool:
        """Tell the trainer; whether it could be told."""
        return self._trainer is not None and self._trainer.send(command, value)
