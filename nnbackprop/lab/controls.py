"""What the server wants of the process that trains."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from typing import Literal

Mode = Literal["run", "step", "pause", "stop"]


class Controls:
    """What the server wants, received by a thread; the trainer looks at the end of each chunk."""

    def __init__(self, connection: Connection, mode: Mode) -> None:
        self._connection, self._changed = connection, threading.Condition()
        self.mode: Mode = mode
        self.lr: float | None = None  # to change to
        self.dropout: tuple[float, ...] | None = None
        self.params_wanted = False
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while True:
            try:
                command, value = self._connection.recv()
            except (EOFError, OSError):  # the server is gone: save and stop
                command, value = "mode", "stop"
            with self._changed:
                if command in ("lr", "dropout"):
                    setattr(self, command, value)
                elif command == "params":
                    self.params_wanted = True
                elif self.mode != "stop":
                    self.mode = value
                self._changed.notify()
            if self.mode == "stop":
                return

    def wait(self) -> None:
        """Return when there is something to do while the run stands still."""
        with self._changed:
            self._changed.wait_for(lambda: self.mode != "pause" or self.change_wanted or self.params_wanted)

    @property
    def change_wanted(self) -> bool:
        """Whether the run is to go on with other settings."""
        return self.lr is not None or self.dropout is not None

    def take_changes(self) -> tuple[float | None, tuple[float, ...] | None]:
        """The learning rate and the dropout rates to change to, once."""
        with self._changed:
            changes = self.lr, self.dropout
            self.lr = self.dropout = None
            return changes

    def stepped(self) -> None:
        """The step that was asked for has been made."""
        with self._changed:
            if self.mode == "step":
                self.mode = "pause"
