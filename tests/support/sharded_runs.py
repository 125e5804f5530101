"""Small trainings in four shards, on as many processes as `mpiexec` starts: what each came to, to the bit.

`mpiexec -n 2 python -m tests.support.sharded_runs numpy jax` prints it; in one process, call `outcomes`.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import nnbackprop as nb
from backends import leaves, select
from nnbackprop.distributed.communicator import Communicator, SingleProcess
from nnbackprop.distributed.mpi import MpiCommunicator, communicator
from nnbackprop.distributed.sharding import ShardedTraining
from nnbackprop.errors import ProcessLostError
from nnbackprop.optim import OPTIMIZERS

SHARDS = 4
SAMPLES = 203
"""In batches of 30 the last has 23: shards of 7 and 8, and of 5 and 6."""


def dataset(weighted: bool = False) -> nb.Dataset:
    """Three classes of 12 features."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, 12)).astype("float32")
    labels = (x[:, :3].sum(axis=1) > 0).astype(int) + (x[:, 3] > 0.5)
    return nb.Dataset(x, labels, ("a", "b", "c"), weights=rng.random(SAMPLES) if weighted else None)


def trainer(library: str, optimizer: str = "adam", norm: bool = False, **options: Any) -> nb.Trainer:
    """A network with dropout, not yet in shards."""
    normalization = (nb.BatchNorm(),) if norm else ()
    network = nb.Sequential(nb.Dense(16), *normalization, nb.ReLU(), nb.Dropout(0.3), nb.Dense(3))
    settings = {"backend": select(library), "batch_size": 30, "epochs": 2, "lr": 0.01, **options}
    return nb.Trainer(network, nb.SoftmaxCrossEntropy(), OPTIMIZERS[optimizer](), **settings)


def cases(libraries: Iterable[str]) -> Iterator[tuple[str, nb.Trainer, nb.Dataset]]:
    """Trainings by name; those whose name begins with "synchronized" have batch normalization over the batch."""
    for library in libraries:
        for name in OPTIMIZERS if library == "numpy" else ("adam",):
            for dtype in ("float32", "float64"):
                yield f"{library} {name} {dtype}", trainer(library, name, dtype=dtype), dataset()
        yield f"{library} weighted, normalized", trainer(library, norm=True), dataset(weighted=True)
        for dtype in () if library == "jax" else ("float32", "float64"):  # which compiles each operator: minutes
            yield f"synchronized, {library} {dtype}", trainer(library, norm=True, dtype=dtype), dataset()
    yield "streamed", trainer("numpy", resident="no"), dataset()
    yield "full batch", trainer("numpy", batch_size=None), dataset()
    # the last batch of 50 has 3 samples, and so has that of 40: with normalization one shard has them all
    yield "fewer samples than shards", trainer("numpy", batch_size=50), dataset()
    yield "normalized, fewer samples", trainer("numpy", batch_size=40, norm=True), dataset()
    yield "synchronized, fewer samples", trainer("numpy", batch_size=40, norm=True), dataset()


def outcomes(libraries: Iterable[str], processes: Communicator | None = None) -> dict[str, str]:
    """A digest of the weights of each training, and its last losses; every third is by messages.

    The others share memory, where there are several processes.
    """
    processes, found = processes or SingleProcess(), {}
    for i, (name, made, data) in enumerate(cases(libraries)):
        if isinstance(processes, MpiCommunicator):
            assert processes.share_memory or i
            processes.share_memory = i % 3 != 2
        made.use_sharding(ShardedTraining(SHARDS, processes, name.startswith("synchronized")))
        row = made.fit(data, validation=data)[-1]
        assert row.validation is not None
        losses = row.train.loss.hex(), row.validation.loss.hex(), row.validation.accuracy
        all_bits = processes.all_gather_object(digest(made))
        assert len(set(all_bits)) == 1, f"{name}: processes have different weights"
        found[name] = f"{all_bits[0][:16]} {losses}"
    return found


def by_torch(world: MpiCommunicator) -> dict[str, str]:
    """Digests of a training on PyTorch: with sums on the host, and of tensors over Gloo, as over NCCL."""
    import torch

    from backends.torch_collectives import TorchCollectives

    found = {}
    for name in ("host", "gloo"):
        made, data = trainer("torch", norm=True, batch_size=40), dataset(weighted=True)
        if name == "gloo":
            exchange = TorchCollectives(world, torch.device("cpu"))
            made.backend.collectives = lambda _, exchange=exchange: exchange  # type: ignore[method-assign]
        made.use_sharding(ShardedTraining(SHARDS, world))
        made.fit(data)
        found[name] = digest(made)
    return found


def lost_by_torch(world: MpiCommunicator) -> str:
    """What process 0 says where another has left Gloo's group."""
    import torch

    if world.rank:
        atexit.unregister(torch.distributed.destroy_process_group)
        torch.distributed.destroy_process_group()
        return ""
    try:
        world.sum_shards(torch.ones(1, world.size))
    except ProcessLostError as error:
        return str(error)
    return "nothing"


def digest(made: nb.Trainer) -> str:
    """Of the weights, to the bit."""
    arrays = [np.ascontiguousarray(a).tobytes() for a in leaves(made.host_params())]
    return hashlib.sha256(b"".join(arrays)).hexdigest()


def moved(world: MpiCommunicator) -> Iterator[tuple[int, int]]:
    """Bytes that a process gets from others, and calls, where 4,000 bytes are summed: shared, and by messages."""
    for world.share_memory in (True, False):
        rows = world.shard_buffer(1, 1000, "float32")
        rows[:] = world.rank + 1
        before = world.bytes_sent, world.calls
        assert (world.sum_shards(rows) == sum(range(world.size + 1))).all()
        yield world.bytes_sent - before[0], world.calls - before[1]


def main() -> None:
    """Process 0 prints what all have come to."""
    world = communicator()
    if sys.argv[1:] == ["gloo"]:
        assert isinstance(world, MpiCommunicator)
        result = {**by_torch(world), "lost": lost_by_torch(world)}
    else:
        result = {"processes": world.size, "found": outcomes(sys.argv[1:], world)}
        if isinstance(world, MpiCommunicator):
            result["moved"] = list(moved(world))
    if world.rank == 0:
        print(json.dumps(result))
    if isinstance(world, MpiCommunicator):
        world.barrier()


if __name__ == "__main__":
    main()
