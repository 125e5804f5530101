"""What can go wrong, said in one paragraph each, with the exit status the command line gives it."""

from __future__ import annotations


class NnbackpropError(Exception):
    """Base of every error this package raises on purpose: what was got, what was needed, what to do.

    `finding` is the id under which a doctor reports it, where a doctor has more to say than the error.
    """

    exit_code = 1

    def __init__(self, message: str, finding: str | None = None) -> None:
        super().__init__(message)
        self.finding = finding


class UsageError(NnbackpropError, ValueError):
    """An option, a configuration or a call that cannot be right."""

    exit_code = 2


class ShapeError(UsageError):
    """Arrays or layers whose shapes do not fit together; never broadcast in silence."""


class DataError(NnbackpropError, ValueError):
    """A file or data set that cannot be read or cannot be trained on."""

    exit_code = 3


class DivergedError(NnbackpropError, ArithmeticError):
    """The loss or a gradient is no longer a finite number; names the step and the layer."""

    exit_code = 4


class OutOfMemoryError(NnbackpropError, MemoryError):
    """A step that does not fit in memory, however finely its batch is cut."""

    exit_code = 6


class RunFolderError(NnbackpropError, OSError):
    """A run folder or checkpoint that is damaged, locked, unwritable or missing."""

    exit_code = 5


class TooLargeError(RunFolderError):
    """A file of a run beyond the limit of one file: sound perhaps, so that no older one is taken in its place."""
