"""How processes that were started together end: all at once, with one message."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable

from nnbackprop.distributed.environment import launched_rank
from nnbackprop.distributed.mpi import MpiCommunicator, communicator
from nnbackprop.errors import DivergedError, UsageError

GRACE = 1.5  # seconds in which the first process may say what happened, before another does
COMMON_GRACE = 600.0  # where the first raises the same error, and may look for its cause first


def wait_for_first(error: BaseException) -> str:
    """Let the first process report an error that it raises too, which ends this one; "" or whose error it is."""
    if (rank := launched_rank()) == 0:
        return ""
    try:
        communicator()  # the first cannot end the others before all have come here
    except UsageError:
        sys.exit(UsageError.exit_code)  # the first says so
    time.sleep(COMMON_GRACE if isinstance(error, DivergedError) else GRACE + min(rank, 20) / 10)
    return f"process {rank}: "


def end_together(command: Callable[[], int]) -> None:
    """Run a command and exit with its status, which ends the other processes if it is that of an error."""
    agreed = False
    try:
        status = command()
        agreed = status == 0 or status > 128  # it is over, or a signal has ended it in all processes
    except KeyboardInterrupt:
        wait_for_first(KeyboardInterrupt())
        print("Stopped at once. What the run had saved is kept, if it had saved anything.", file=sys.stderr)
        status = 130
    except BaseException as error:
        print(wait_for_first(error) + traceback.format_exc(), end="", file=sys.stderr)
        status = 1
    try:
        world = communicator()
    except UsageError:  # without MPI each ends by itself
        sys.exit(status)
    if isinstance(world, MpiCommunicator):
        if agreed:
            world.barrier()  # however long the first process saves or draws plots
        else:
            world.abort(status)
    sys.exit(status)
