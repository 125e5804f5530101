"""The errors of this package, each with the exit status of the command line."""

from __future__ import annotations


class NnbackpropError(Exception):
    """Base of every error this package raises on purpose: what was got, what was needed, what to do."""

    exit_code = 1


class UsageError(NnbackpropError, ValueError):
    """An option, a configuration or a call that cannot be right."""

    exit_code = 2


class ShapeError(UsageError):
    """Arrays or layers whose shapes do not fit together; they are never broadcast silently."""


class ImageTooSmallError(ShapeError):
    """A window of a layer that is larger than the image it gets."""


class DataError(NnbackpropError, ValueError):
    """A file or data set that cannot be read or cannot be trained on."""

    exit_code = 3


class LabelError(DataError):
    """Labels that are not class numbers or names."""


class OneHotError(LabelError):
    """One-hot rows where one class number per sample is needed."""


class InputError(DataError):
    """A value of the inputs or sample weights that is missing, NaN, infinite, or no number."""


class ImageSizesError(DataError):
    """Images of several sizes where one is needed."""


class ScalingError(DataError):
    """A scaling of the inputs that the dtype cannot hold."""


class InitialValueError(UsageError):
    """Parameters that are NaN or infinite before a step is made with them."""


class DivergedError(NnbackpropError, ArithmeticError):
    """The loss, a gradient or a parameter became NaN or infinite, by `step`.

    `in_evaluation` says that the loss of an evaluated part did, and no step of training.
    """

    exit_code = 4

    def __init__(self, message: str, step: int = 0, in_evaluation: bool = False) -> None:
        super().__init__(message)
        self.step = step
        self.in_evaluation = in_evaluation

    @classmethod
    def at_step(cls, step: int) -> DivergedError:
        """The error of a training step, noticed after `step`."""
        return cls(
            f"Training diverged: by step {step} the loss, a gradient or a parameter became NaN or infinite. The "
            "usual cause is the learning rate: try a tenth of it. "
            "nb.trace_nan(trainer, error) names the step and the layer.",
            step,
        )

    @classmethod
    def evaluating(cls, step: int, when: str, loss: float) -> DivergedError:
        """The error of an evaluation after `step`, whose loss is NaN or infinite."""
        return cls(
            f"Training diverged: {when}, step {step}, the loss in evaluation is {loss}. The usual cause is the "
            "learning rate: try a tenth of it.",
            step,
            in_evaluation=True,
        )


class OutOfMemoryError(NnbackpropError, MemoryError):
    """A step that does not fit in memory, even in microbatches of one sample."""

    exit_code = 6

    @classmethod
    def of_shard(cls, step: int) -> OutOfMemoryError:
        """The error of a step on a shard of a batch, which is not cut any further."""
        return cls(
            f"Memory ran out at step {step}, on a shard of a batch: cut batches into more shards, in a new run, "
            "or train a smaller network."
        )


class RunFolderError(NnbackpropError, OSError):
    """A run folder or checkpoint that is damaged, locked, unwritable or missing."""

    exit_code = 5


class ProcessLostError(NnbackpropError, RuntimeError):
    """One of the processes that train together was killed, crashed or stopped answering."""

    exit_code = 7


class TooLargeError(RunFolderError):
    """A file of a run beyond the size limit; it may be sound, so no older one takes its place."""
