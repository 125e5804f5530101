"""The command that writes a trained network for other programs: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import Run, RunsDir, out


def export(
    run: Run,
    /,
    *,
    onnx: Annotated[
        Path | None, Parameter(help="An ONNX file: raw inputs in, labels and probabilities out.")
    ] = None,
    safetensors: Annotated[
        Path | None, Parameter(help="The weights, named and laid out as PyTorch's nn.Sequential has them.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Write a trained network to a file for other programs."""
    from backends import select
    from nnbackprop.errors import UsageError
    from nnbackprop.export.onnx import export_onnx
    from nnbackprop.export.safetensors import export_safetensors
    from nnbackprop.runs.trained_model import TrainedModel

    asked = [(path, write) for path, write in ((onnx, export_onnx), (safetensors, export_safetensors)) if path]
    if not asked:
        raise UsageError("No file was named: give --onnx model.onnx, --safetensors model.safetensors, or both.")
    trained = TrainedModel.open(run, runs_dir, select("numpy"))
    for path, write in asked:
        write(trained, path)
        out.print(f"Wrote {escape(str(path))}, {path.stat().st_size:,} bytes", soft_wrap=True)
    return 0
