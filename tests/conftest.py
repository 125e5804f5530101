"""The backends every mathematical test runs on, and `--backend` to insist on one."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process a core; and products of the same bits
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

import backends
from backends import Backend, BackendError
from nnbackprop.runs.signals import SIGNALS
from tests.stress import child_run
from tests.support import cuda_emulator, small_runs
from tests.support.commands import draw_no_plots

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

ALL_BACKENDS = ("numpy", "numpy-readonly", "strict", "torch", "jax", "mlx", "cupy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=ALL_BACKENDS,
        help="run the backend tests on this one alone, and fail rather than skip where it is absent",
    )
    parser.addoption(
        "--require",
        default="",
        metavar="NAMES",
        help="comma-separated libraries, such as torch,jax: a test skipped for want of one of them fails",
    )


def pytest_configure(config: pytest.Config) -> None:
    asked = config.getoption("--backend") or "numpy"
    small_runs.default_backend = asked.removesuffix("-readonly")
    _keep_programs_of_jax()


def _keep_programs_of_jax() -> None:
    """Let JAX compile equal programs of this process's tests once, as many train the same network twice.

    Each process has a folder of its own, as JAX writes its files without a lock.
    """
    folder = tempfile.mkdtemp(prefix="jax-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _insist((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _insist((yield), collector.config)


def _insist(report: Report, config: pytest.Config) -> Report:
    """Turn a skip whose reason names a required library into a failure."""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        wanted = [name for name in config.getoption("--require").split(",") if name and name in reason.lower()]
        if wanted:
            report.outcome = "failed"
            report.longrepr = f"--require {','.join(wanted)}: this must not be skipped. {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each reason for skipping once, with its number of tests."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped {count:>5}  {reason}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--backend")
        metafunc.parametrize("backend", [asked] if asked else ALL_BACKENDS, indirect=True)


class ReadonlyNumpy(backends.NumpyBackend):
    """NumPy whose arrays refuse to be written to: a layer or loss that mutates an argument fails."""

    def asarray(self, array: np.ndarray, copy: bool = True) -> np.ndarray:
        array = super().asarray(array, copy).view()
        array.setflags(write=False)
        return array


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn; absent ones skip with the reason, or fail if `--backend` names them."""
    if request.param == "numpy-readonly":
        return ReadonlyNumpy()
    try:
        return backends.select(request.param)
    except BackendError as error:
        if request.config.getoption("--backend"):
            pytest.fail(f"--backend {request.param} was asked for: {error}")
        pytest.skip(f"{request.param}: {error.reason}")


@pytest.fixture
def emulated_device() -> Iterator[ModuleType]:
    """The emulated CUDA device, as it was made, and so again afterwards."""
    if not cuda_emulator.active():
        pytest.skip("needs the emulated CUDA device: make test-cuda")
    device = import_module("tests.support.cuda_emulator.device")
    device.reset()
    yield device
    device.reset()


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands: nothing of the checkout or of the environment is theirs, and lines have 120 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NNBACKPROP_BACKEND", "NNBACKPROP_DEVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this process end without their pictures."""
    draw_no_plots(monkeypatch)


@pytest.fixture
def two_clouds(in_a_folder_of_its_own: None, no_plots: None) -> None:
    """The working folder holds two.npz, 40 samples that a line tells apart; runs there draw no pictures."""
    labels = np.arange(40) % 2
    np.savez("two.npz", X=np.random.default_rng(0).standard_normal((40, 3)) + 4 * labels[:, None], y=labels)


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Signals as a program has them that is not in a shell's background, where SIGINT is ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of `stress.child_run` and `runs/whole`, a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    child_run.write_clouds(folder)
    child_run.run_to_end(folder, *child_run.train_words("whole", child_run.EPOCHS))
    return folder
