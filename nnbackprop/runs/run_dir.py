"""A run's folder: the paths of its files, how they are written, and the lock of the process that writes them."""

from __future__ import annotations

import contextlib
import os
import platform
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nnbackprop._files import open_file, remove_temporaries, size_of, write_atomically
from nnbackprop._json import from_json_text, to_json_text
from nnbackprop._system_info import Blas, cores, get_num_threads, processor, versions
from nnbackprop.data.limits import JSON_GROWTH, MemoryBudget
from nnbackprop.errors import RunFolderError, TooLargeError, UsageError

LOCK_ATTEMPTS = 100


@dataclass(frozen=True)
class RunDir:
    """Paths within `runs/NAME/`, and how each file is written."""

    path: Path

    @classmethod
    def create(cls, runs: Path, name: str) -> RunDir:
        """A new folder `runs/NAME`, or NAME-2, NAME-3 ... where that is taken; nothing is overwritten."""
        check_name(name)
        for number in range(1, 100_000):
            path = runs / (name if number == 1 else f"{name}-{number}")
            try:
                runs.mkdir(parents=True, exist_ok=True)
                path.mkdir()
                (path / "checkpoints").mkdir()
            except OSError as error:
                if isinstance(error, FileExistsError) and runs.is_dir():
                    continue
                raise RunFolderError(
                    f"The run folder {path} could not be made ({error.strerror}): choose a place you may write "
                    "to with --runs-dir."
                ) from error
            return cls(path)
        raise RunFolderError(f"{runs} holds 100,000 runs called {name}: choose another --name.")

    @classmethod
    def open(cls, runs: Path, run: str) -> RunDir:
        """The folder called `run`, a path or a name in `runs`; `last` is the latest with a checkpoint."""
        if run == "last":
            found = [cls(path.parent) for path in runs.glob("*/config.toml")]
            found = [run_dir for run_dir in found if any(run_dir.checkpoints_dir.glob("*.safetensors"))]
            if not found:
                raise RunFolderError(f"There is no run in {runs}: train one first, or name --runs-dir.")
            return max(found, key=lambda run_dir: _written_at(run_dir.path))._check_links()
        for path in (Path(run), runs / run):
            if os.path.isfile(path / "config.toml"):  # also of a name no system would take
                return cls(path)._check_links()
        raise RunFolderError(
            f"'{run}' is no run folder (there is no config.toml in '{Path(run)}' nor in '{runs / run}'): "
            "name a folder that `nnbackprop train` wrote, or `last`."
        )

    def _check_links(self) -> RunDir:
        """The folder itself; RunFolderError if a link in it leads out, as what is written there would."""
        inside = self.path.resolve()
        for path in self.path.rglob("*"):
            target = Path(os.path.realpath(path))
            try:
                mode = target.stat().st_mode
            except OSError:  # a link to nothing, or a file that was removed since
                mode = stat.S_IFREG
            special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))  # a pipe would be waited for
            if special or not target.is_relative_to(inside):
                raise RunFolderError(
                    f"{path} leads to {target}, which is no file of its run: put the file itself there, as a run "
                    "folder is read and written as a whole."
                )
        return self

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Within it no other process writes to the folder; the system's lock goes when its holder does."""
        with contextlib.ExitStack() as stack:
            try:
                _lock_patiently(stack.enter_context((self.path / ".lock").open("wb")))
            except OSError as error:
                raise RunFolderError(
                    f"{self.path} cannot be held for writing ({error.strerror}): another process writes to it, "
                    "or it is read-only. Wait for the other, or stop it, and try again."
                ) from error
            remove_temporaries(self.path)
            yield

    @property
    def in_use(self) -> bool:
        """Whether a process holds the folder's lock."""
        try:
            with (self.path / ".lock").open("rb") as file:
                _lock(file, shared=True)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    @property
    def config_path(self) -> Path:
        """The whole configuration, runnable again."""
        return self.path / "config.toml"

    @property
    def metrics_path(self) -> Path:
        """One JSON object an epoch, one a line."""
        return self.path / "metrics.jsonl"

    @property
    def has_progress(self) -> bool:
        """Whether there is a checkpoint or a row of metrics; a run may be killed before its first."""
        return any(self.checkpoints_dir.glob("*.safetensors")) or bool(self.read_metrics())

    @property
    def plots_dir(self) -> Path:
        """Plots of the run, as PNG."""
        return self.path / "plots"

    @property
    def checkpoints_dir(self) -> Path:
        """The last checkpoints, and the best weights."""
        return self.path / "checkpoints"

    def checkpoint_path(self, which: str) -> Path:
        """The file of the `last` checkpoint or of the `best` weights."""
        return self.checkpoints_dir / f"{which}.safetensors"

    def write(self, name: str, content: str) -> None:
        """Write a text file whole or not at all."""
        write_atomically(self.path / name, content.encode())

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write JSON, indented for people, with null for NaN and infinity."""
        self.write(name, to_json_text(values, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What `write_json` wrote, NaN as None; None where there is no such file."""
        path = self.path / name
        try:
            found = from_json_text(_read_text(path))
        except FileNotFoundError:
            return None
        except TooLargeError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(f"{path} cannot be read as JSON ({error}): put back what was there.") from error
        if not isinstance(found, dict):
            raise RunFolderError(f"{path} holds no table of names and values: put back what was there.")
        return found

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, NaN as None; a last line cut off by a crash is left out."""
        try:
            return [_parse_row(line) for line in _read_text(self.metrics_path).split("\n")[:-1]]
        except FileNotFoundError:
            return []
        except TooLargeError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(
                f"{self.metrics_path} holds a line that is no row of an epoch ({error}): take the line out, and "
                "the run goes on."
            ) from error

    def drop_metrics(self, from_epoch: int) -> None:
        """Drop the rows of `from_epoch` and later, which a run resumed from an older checkpoint writes again."""
        kept = [to_json_text(row) + "\n" for row in self.read_metrics() if row["epoch"] < from_epoch]
        self.write("metrics.jsonl", "".join(kept))


def check_name(name: str) -> None:
    """UsageError for what cannot be the name of a run's folder."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise UsageError(
            f"{name!r} cannot be the name of a run: give --name one word, and its place by --runs-dir."
        )
    if name == "last":
        raise UsageError("A run cannot be called last, which stands for the newest one: give it another --name.")


def _read_text(path: Path) -> str:
    """A file of JSON as text; TooLargeError before memory is taken for more than one file may have."""
    with open_file(path) as stream:
        MemoryBudget(str(path), error=TooLargeError).reserve(JSON_GROWTH * (size := size_of(stream)))
        return stream.read(size).decode()


def _parse_row(line: str) -> dict[str, Any]:
    row = from_json_text(line)
    if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
        raise ValueError("it names no epoch")
    return row


def _lock(file: BinaryIO, shared: bool = False) -> None:
    """Take the system's lock on an open file, or raise OSError at once; several may share one, but on Windows."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _lock_patiently(file: BinaryIO) -> None:
    """Take the lock, or raise OSError after about 0.1 s: whoever asks `in_use` holds it for a moment."""
    for _ in range(LOCK_ATTEMPTS - 1):
        with contextlib.suppress(OSError):
            _lock(file)
            return
        time.sleep(0.001)
    _lock(file)


def _written_at(folder: Path) -> float:
    last = folder / "checkpoints" / "last.safetensors"
    return (last if last.is_file() else folder / "config.toml").stat().st_mtime


def environment(backend: Any) -> dict[str, Any]:
    """What a run was made with: the backend, versions, the machine, and the BLAS library."""
    blas = Blas.loaded()
    names = ("nnbackprop", "numpy", "array-api-compat", "safetensors", "torch", "jax", "mlx", "numba")
    return {
        "backend": backend.name,
        "device": backend.device,
        "why": backend.selection_reason,
        "library": backend.version,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        "threads": get_num_threads(),
        "blas": asdict(blas) if blas else None,
        "packages": versions(names),
    }
