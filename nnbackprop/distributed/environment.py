"""What `mpiexec`, or SLURM in its place, says to the processes it starts, before MPI is imported."""

from __future__ import annotations

import os

SIZE_AND_RANK = (
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "PMIX_RANK"),  # srun --mpi=pmix
)
TIMEOUT = "NNBACKPROP_MPI_TIMEOUT"
"""Variable: seconds after which a process that does not answer is given up."""
RUN_FILE = "NNBACKPROP_RUN_FILE"
"""Variable of processes that `--processes` started: a file that gets the path of the run folder."""
SECONDS_SPENT = "NNBACKPROP_SECONDS_SPENT"
"""Variable of the same: the seconds since the first of them were started, which count for --max-time."""


def launched_size() -> int:
    """How many processes were started together; 1 without a launcher."""
    return _launched()[0]


def launched_rank() -> int:
    """The number of this process among them, from 0."""
    return _launched()[1]


def _launched() -> tuple[int, int]:
    for size, rank in SIZE_AND_RANK:
        if size in os.environ and rank in os.environ:
            return int(os.environ[size]), int(os.environ[rank])
    return 1, 0
