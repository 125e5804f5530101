"""`select` takes the backend asked for or says why not and what to do; `auto` says what it chose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import backends
from backends import Backend, BackendError, NumpyBackend, devices, selection
from backends.cuda import errors

TORCH = "PyTorch {version}"
NO_DEVICE = RuntimeError("cudaErrorNoDevice")
CUDA = "device cpu, cuda or cuda:N"
TORCH_DEVICES = "device cpu, cuda, cuda:N, mps, xpu or xpu:N"
AUTO_DEVICES = "device cpu, cuda, cuda:N, mps, xpu, xpu:N or gpu"
CUDA_EXTRAS = 'pip install "cupy-cuda12x[ctk]", or "cupy-cuda13x[ctk]" with a driver for CUDA 13'


def python(*code: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", "; ".join(code)], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A CuPy that is installed, and whose backend is what the test makes of it: call it with a function."""
    real_find, real_import = selection.find_spec, selection.import_module

    def install(opened: Any) -> None:
        module = SimpleNamespace(CupyBackend=opened)
        monkeypatch.setattr(selection, "find_spec", lambda name: name == "cupy" or real_find(name))
        monkeypatch.setattr(
            selection, "import_module", lambda n, p: module if n == ".cupy_backend" else real_import(n, p)
        )

    return install


class WorkingCupy(NumpyBackend):
    name = "cupy"

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self.device = device or "cuda:0"


def broken_cupy(device: str | None = None) -> Backend:
    raise errors.no_device(0, 12090, RuntimeError("insufficient"))


def absent(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    real = selection.find_spec
    monkeypatch.setattr(selection, "find_spec", lambda name: None if name in missing else real(name))


def refusal(name: str, device: str | None = None) -> tuple[str, str]:
    with pytest.raises(BackendError) as caught:
        backends.select(name, device)
    assert str(caught.value) == f"{caught.value.reason} {caught.value.fix}"
    return caught.value.reason, caught.value.fix


@pytest.mark.parametrize(
    ("opened", "device", "chosen", "why"),
    [
        (WorkingCupy, None, "cuda:0", "auto chose CuPy: cuda:0 works."),
        (WorkingCupy, "cuda:1", "cuda:1", "auto chose CuPy: cuda:1 works."),
        (WorkingCupy, "cpu", "cpu", "auto chose NumPy: the device cpu was asked for."),
        (broken_cupy, None, "cpu", "auto chose NumPy: CuPy finds no NVIDIA driver."),
    ],
)
def test_auto_is_cupy_where_it_works_else_numpy(
    cupy: Any, opened: Any, device: Any, chosen: str, why: str
) -> None:
    cupy(opened)
    backend = backends.select("auto", device)
    assert (backend.name, backend.device) == ("numpy" if chosen == "cpu" else "cupy", chosen)
    assert backend.selection_reason == why


@pytest.mark.parametrize(
    ("installed", "ways"),
    [
        (("mlx", "torch"), "For its GPU use backend='mlx' or backend='torch' and device='mps'."),
        (("torch",), "For its GPU use backend='torch' and device='mps'."),
        ((), "For its GPU use MLX: pip install mlx, then backend='mlx'."),
    ],
)
def test_auto_on_a_mac_is_numpy_and_names_what_uses_its_gpu(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], ways: str
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(selection.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(selection, "find_spec", lambda name: name in ("numpy", *installed) or None)
    backend = backends.select()
    assert backend.name == "numpy"
    assert backend.selection_reason == f"auto chose NumPy: CuPy needs an NVIDIA GPU, and a Mac has none. {ways}"


def test_auto_on_mps_is_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    backend = backends.select("auto", "mps")
    assert (backend.name, backend.device, backend.has_float64) == ("torch", "mps", False)
    assert backend.selection_reason == "auto chose PyTorch: the device mps was asked for."


def test_auto_without_cupy_is_numpy_and_on_cuda_an_error(monkeypatch: pytest.MonkeyPatch, cupy: Any) -> None:
    cupy(broken_cupy)
    assert refusal("auto", "cuda")[0] == "CuPy finds no NVIDIA driver."
    absent(monkeypatch, "cupy")
    backend = backends.select()
    assert (backend.name, backend.selection_reason) == ("numpy", "auto chose NumPy: CuPy is not installed.")


@pytest.mark.parametrize(
    ("name", "module", "title", "command"),
    [
        ("cupy", "cupy", "CuPy", CUDA_EXTRAS),
        ("torch", "torch", "PyTorch", "pip install torch"),
        ("jax", "jax", "JAX", "pip install jax"),
        ("mlx", "mlx", "MLX", "pip install mlx" if sys.platform == "darwin" else 'pip install "mlx[cpu]"'),
        ("strict", "array_api_strict", "array-api-strict", "pip install array-api-strict"),
    ],
)
def test_library_that_is_not_installed_names_the_package(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, title: str, command: str
) -> None:
    absent(monkeypatch, module)
    assert refusal(name) == (f"{title} is not installed.", f"Install it: {command}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("libcublas.so.12: cannot open shared object file"), "ImportError: libcublas.so.12: cannot "),
        (ImportError("\n=====\nFailed to import CuPy.\n\nLong advice\n===="), "ImportError: Failed to import C"),
        (RuntimeError(), "RuntimeError"),
    ],
)
@pytest.mark.parametrize("name", ["cupy", "torch", "jax"])
def test_library_that_fails_to_load_gives_its_first_line(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, said: str
) -> None:
    def load(*_: str) -> None:
        raise error

    monkeypatch.setattr(selection, "find_spec", lambda _: True)
    monkeypatch.setattr(selection, "import_module", load)
    reason, fix = refusal(name)
    assert f"is installed but does not work: {said}" in reason
    assert "\n" not in reason
    assert fix.startswith("Install it anew: pip install --force-reinstall ")
    assert [(row.usable, row.reason) for row in backends.available((name,))] == [(False, reason)]


@pytest.mark.parametrize(
    ("name", "device", "reason", "fix"),
    [
        (
            "tensorflow",
            None,
            "There is no backend 'tensorflow'.",
            "one of auto, numpy, cupy, torch, jax, mlx, strict.",
        ),
        ("numpy", "cuda", "The backend numpy works on the CPU alone and knows no device 'cuda'.", "device='cpu'"),
        ("strict", "cpu", "The backend strict knows no device 'cpu'.", "device='device1'"),
        (
            "torch",
            "gpu",
            "The backend torch knows no device 'gpu'.",
            "device cpu, cuda, cuda:N, mps, xpu or xpu:N",
        ),
        ("jax", "cuda:", "The backend jax knows no device 'cuda:'.", CUDA),
        ("torch", "cuda:01", "The backend torch knows no device 'cuda:01'.", TORCH_DEVICES),
        ("torch", "mps:1", "The backend torch knows no device 'mps:1'.", TORCH_DEVICES),
        ("mlx", "cuda", "The backend mlx knows no device 'cuda'.", "device cpu or gpu"),
        (
            "auto",
            "tpu",
            "The backend auto knows no device 'tpu'.",
            "device cpu, cuda, cuda:N, mps, xpu, xpu:N or gpu",
        ),
    ],
)
def test_unknown_backend_or_device_lists_the_known_ones(
    name: str, device: str | None, reason: str, fix: str
) -> None:
    if name in ("torch", "jax", "mlx"):
        pytest.importorskip(name)
    actual_reason, actual_fix = refusal(name, device)
    assert actual_reason == reason
    assert fix in actual_fix


def test_cupy_on_the_cpu_is_refused() -> None:
    with pytest.raises(BackendError, match=r"cupy knows no device 'cpu'\. Use device cuda or cuda:N"):
        devices.parse_device("cupy", "cpu", ("cuda",))


@pytest.mark.parametrize(
    ("cuda", "count", "reason"),
    [
        (None, 0, TORCH + " is a build without CUDA."),
        ("12.8", 0, TORCH + " finds no CUDA device."),
        ("12.8", 1, "The backend torch has no device cuda:7: this machine has only cuda:0."),
        ("12.8", 4, "The backend torch has no device cuda:7: this machine has cuda:0 to cuda:3."),
    ],
)
def test_torch_without_the_cuda_device_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, count: int, reason: str
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert refusal("torch", "cuda:7")[0] == reason.format(version=torch.__version__)


@pytest.mark.parametrize(
    ("kind", "needed"),
    [("mps", "a Mac with an Apple chip"), ("xpu", "an Intel GPU, its driver and a build for XPU")],
)
def test_torch_without_a_laptop_gpu_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, kind: str, needed: str
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    reason, fix = refusal("torch", kind)
    assert reason == f"PyTorch {torch.__version__} finds no device {kind}."
    assert fix.startswith(f"It needs {needed} (")


def test_torch_lists_the_xpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    assert backends.select("torch", "xpu:1").device == "xpu:1"
    reason, fix = refusal("torch", "xpu:2")
    assert reason == "The backend torch has no device xpu:2: this machine has xpu:0 to xpu:1."
    assert fix == "Use device='xpu', or a number that exists."
    assert backends.select("torch", "cpu").description == "also on this machine's GPU, with device='xpu'"


def test_mlx_without_a_gpu_says_what_it_needs() -> None:
    mx = pytest.importorskip("mlx.core", reason="mlx is not installed")
    if mx.is_available(mx.gpu):
        pytest.skip("this machine has a GPU that MLX works with")
    assert refusal("mlx", "gpu")[1] == "It needs a Mac with an Apple chip: use device='cpu'."


def test_jax_without_cuda_names_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")

    def devices(platform: str | None = None) -> Any:
        raise RuntimeError(f"Unknown backend {platform}")

    monkeypatch.setattr(jax, "devices", devices)
    reason, fix = refusal("jax", "cuda:0")
    assert reason.endswith("finds no CUDA device.")
    assert 'pip install "jax[cuda13]"' in fix


@pytest.mark.parametrize(
    ("error", "reason", "fix"),
    [
        (errors.no_device(0, 12090, NO_DEVICE), "CuPy finds no NVIDIA driver.", "Install the driver"),
        (
            errors.no_device(12040, 13000, NO_DEVICE),
            "CuPy is built for CUDA 13, and the NVIDIA driver supports up to CUDA 12.4.",
            'pip uninstall -y cupy-cuda13x && pip install "cupy-cuda12x[ctk]"',
        ),
        (
            errors.no_device(13000, 12090, NO_DEVICE),
            "The NVIDIA driver shows CuPy no CUDA device (cudaErrorNoDevice).",
            "CUDA_VISIBLE_DEVICES",
        ),
        (
            errors.no_product("cuda:0", 12090, ImportError("libcublas.so.12 is missing")),
            "CuPy sees cuda:0 but cannot multiply two matrices there (ImportError: libcublas.so.12 is missing).",
            'pip install "cupy-cuda12x[ctk]"',
        ),
    ],
    ids=["no driver", "old driver", "no device", "no cuBLAS"],
)
def test_cupy_that_does_not_work_says_why(error: BackendError, reason: str, fix: str) -> None:
    assert error.reason == reason
    assert fix in error.fix


def test_available_lists_every_backend_but_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, "cupy", "torch")
    rows = {row.name: row for row in backends.available()}
    assert list(rows) == ["numpy", "cupy", "torch", "jax", "mlx"]
    assert rows["numpy"].usable
    assert (rows["numpy"].version, rows["numpy"].device) == (np.__version__, "cpu")
    torch = rows["torch"]
    assert (torch.usable, torch.version) == (False, None)
    assert (torch.reason, torch.fix) == ("PyTorch is not installed.", "Install it: pip install torch")
    assert [row.name for row in backends.available(("strict",))] == ["strict"]


# Another module called backends


GUARD = "from nnbackprop._guard import check_backends", "check_backends()"


@pytest.mark.parametrize("file", ["backends.py", "backends/__init__.py"])
def test_module_that_shadows_backends_is_named_and_not_run(tmp_path: Path, file: str) -> None:
    other = tmp_path / file
    other.parent.mkdir(exist_ok=True)
    other.write_text("print('the other one runs')", encoding="utf-8")
    done = python(*GUARD, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: nnbackprop needs its own package `backends`")
    assert str(other) in done.stderr
    assert done.stdout == ""


def test_loaded_module_called_backends_is_named() -> None:
    done = python("import sys, types", "sys.modules['backends'] = types.ModuleType('backends')", *GUARD)
    assert "Python finds no file under that name" in done.stderr


def test_own_backends_package_passes(tmp_path: Path) -> None:
    assert python(*GUARD, cwd=tmp_path).returncode == 0
    assert python("import backends", *GUARD, cwd=tmp_path).returncode == 0
