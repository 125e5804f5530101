"""The last few checkpoints of a run: the newest, and those before it in case the newest is damaged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nnbackprop._files import link, remove
from nnbackprop.errors import RunFolderError, TooLargeError

from .checkpoint import Checkpoint, load, save

OLDER = re.compile(r"step-(\d{8,})\.safetensors")


@dataclass
class CheckpointManager:
    """`last.safetensors`, and up to `keep` - 1 older ones, each called by its step: `step-00000500.safetensors`.

    Every one holds all that a resume needs. At no moment is there none, once there was one.
    """

    folder: Path
    keep: int = 3
    step: int | None = None  # at which a sound `last` was taken, once there is one

    @property
    def last(self) -> Path:
        """The newest."""
        return self.folder / "last.safetensors"

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        """Make `checkpoint`, taken at `step`, the newest; the newest before it is kept, and the oldest goes."""
        if self.keep > 1 and self.step is not None and self.step < step:
            link(self.last, self.folder / f"step-{self.step:08d}.safetensors")
        save(self.last, checkpoint)
        self.step = step
        for path in self.older()[max(0, self.keep - 1) :]:
            remove(path)

    def drop_newest(self) -> bool:
        """Make the one before the newest the newest again, as what came after it was no good; False for none."""
        older = self.older()
        if older:
            link(older[0], self.last)
            remove(older[0])
        return bool(older)

    def newest(self) -> tuple[Path, Checkpoint, list[str]]:
        """The newest sound checkpoint, and what is wrong with each newer one, which is skipped.

        RunFolderError if there is none, or if one that may be sound is larger than may be read.
        """
        wrong: list[str] = []
        for path in (self.last, *self.older()):
            try:
                return path, load(path), wrong
            except TooLargeError:
                raise
            except RunFolderError as error:
                wrong.append(str(error))
        raise RunFolderError(wrong[0] if len(wrong) == 1 else f"No checkpoint is sound. {' '.join(wrong)}")

    def older(self) -> list[Path]:
        """Those before the last, newest first."""
        found = {int(name[1]): path for path in self.folder.glob("*") if (name := OLDER.fullmatch(path.name))}
        return [found[step] for step in sorted(found, reverse=True)]
