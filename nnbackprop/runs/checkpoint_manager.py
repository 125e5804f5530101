"""The last few checkpoints of a run: the newest, and those before it in case the newest is damaged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nnbackprop._files import link, remove
from nnbackprop.errors import RunFolderError, TooLargeError

from .checkpoint import Checkpoint, load, save

OLDER_NAME = re.compile(r"step-(\d{8,})\.safetensors")


@dataclass
class CheckpointManager:
    """`last.safetensors`, and up to `keep` - 1 older ones, each called by its step: `step-00000500.safetensors`.

    Every one holds all that a resume needs. At no moment is there none, once there was one.
    """

    folder: Path
    keep: int = 3
    last_step: int | None = None  # at which `last` was taken; None until there is an undamaged one

    @property
    def last(self) -> Path:
        """The file of the newest."""
        return self.folder / "last.safetensors"

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        """Write `checkpoint`, taken at `step`, as `last`; the one before it is kept, the oldest is removed."""
        if self.keep > 1 and self.last_step is not None and self.last_step < step:
            link(self.last, self.folder / f"step-{self.last_step:08d}.safetensors")
        save(self.last, checkpoint)
        self.last_step = step
        for path in self.older()[max(0, self.keep - 1) :]:
            remove(path)

    def drop_newest(self) -> bool:
        """Remove `last` and put the checkpoint before it in its place; False where there is none before it."""
        older = self.older()
        if older:
            link(older[0], self.last)
            remove(older[0])
        return bool(older)

    def newest(self) -> tuple[Path, Checkpoint, list[str]]:
        """The newest undamaged checkpoint, its path, and a message for each newer one, which is damaged.

        RunFolderError if all are damaged, or if one is larger than may be read.
        """
        errors: list[str] = []
        for path in (self.last, *self.older()):
            try:
                return path, load(path), errors
            except TooLargeError:
                raise
            except RunFolderError as error:
                errors.append(str(error))
        raise RunFolderError(errors[0] if len(errors) == 1 else f"All checkpoints are damaged. {' '.join(errors)}")

    def older(self) -> list[Path]:
        """Those before the last, newest first."""
        found = {int(name[1]): path for path in self.folder.glob("*") if (name := OLDER_NAME.fullmatch(path.name))}
        return [found[step] for step in sorted(found, reverse=True)]
