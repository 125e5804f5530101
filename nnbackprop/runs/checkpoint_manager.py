"""The checkpoint files of a run: the newest, those before it in case it is damaged, and the best weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnbackprop._files import link, remove
from nnbackprop.errors import RunFolderError, TooLargeError

from .checkpoint import Checkpoint, load, save

Loaded = tuple[Path, Checkpoint, list[str]]
"""An undamaged checkpoint, its path, and a message for each newer one, which is damaged."""

OLDER_NAME = re.compile(r"step-(\d{8,})\.safetensors")


@dataclass
class CheckpointManager:
    """`last.safetensors`, up to `keep` - 1 older ones such as `step-00000500.safetensors`, and `best.safetensors`.

    Every one but the best holds all that a resume needs. At no moment is there none of these, once there was one.
    """

    folder: Path
    keep: int = 3
    saved_step: int | None = None  # at which `last` was taken; None until there is an undamaged one

    @property
    def last(self) -> Path:
        """The file of the newest."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The file of the best weights."""
        return self.folder / "best.safetensors"

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        """Write `checkpoint`, taken at `step`, as `last`; the one before it is kept, the oldest is removed."""
        if self.keep > 1 and self.saved_step is not None and self.saved_step < step:
            link(self.last, self.folder / f"step-{self.saved_step:08d}.safetensors")
        save(self.last, checkpoint)
        self.saved_step = step
        for path in self.older()[max(0, self.keep - 1) :]:
            remove(path)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Write `checkpoint` as the best weights."""
        save(self.best, checkpoint)

    def remove_best(self) -> None:
        """Remove the best weights, where there are any."""
        remove(self.best)

    def drop_newest(self) -> Loaded | None:
        """Put the newest undamaged checkpoint before `last` in its place, and remove the damaged ones between.

        None where there is none: then `last` stays. RunFolderError if one is larger than may be read.
        """
        older = self.older()
        found, messages = _load_first(older)
        if found is None:
            return None
        path, checkpoint = found
        link(path, self.last)
        for outdated in older[: older.index(path) + 1]:
            remove(outdated)
        return self.last, checkpoint, messages

    def load_newest(self) -> Loaded:
        """The newest undamaged checkpoint; RunFolderError if there is none, or one is larger than may be read."""
        found, messages = _load_first((self.last, *self.older()))
        if found is None:
            damaged = messages[0] if len(messages) == 1 else f"All checkpoints are damaged. {' '.join(messages)}"
            raise RunFolderError(damaged)
        return *found, messages

    def older(self) -> list[Path]:
        """Those before the last, newest first."""
        by_step = {int(m[1]): path for path in self.folder.glob("*") if (m := OLDER_NAME.fullmatch(path.name))}
        return [by_step[step] for step in sorted(by_step, reverse=True)]


def _load_first(paths: Iterable[Path]) -> tuple[tuple[Path, Checkpoint] | None, list[str]]:
    """The first undamaged of these files, and a message for each damaged one before it."""
    messages: list[str] = []
    for path in paths:
        try:
            return (path, load(path)), messages
        except TooLargeError:
            raise
        except RunFolderError as error:
            messages.append(str(error))
    return None, messages
