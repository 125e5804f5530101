"""The programs of examples/: each runs, and what it prints is what it promises."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

import backends.selection

FOLDER = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(FOLDER.glob("*.py"))


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[-+]\d+)?", text)]


def last(out: str) -> list[float]:
    return numbers(out.splitlines()[-1])


def lines_of(out: str, word: str) -> list[list[float]]:
    return [numbers(line.partition(word)[2]) for line in out.splitlines() if word in line]


PROMISES: dict[str, tuple[str | None, Callable[[str], bool]]] = {
    "adversarial_image": (
        None,
        lambda out: lines_of(out, "white:")[0][0] > 85 > 15 > lines_of(out, "white:")[3][0],
    ),
    "autoencoder": (None, lambda out: lines_of(out, "test:")[0][0] < 0.75 * lines_of(out, "test:")[0][1]),
    "custom_layer": (None, lambda out: last(out)[0] > 93 and "swish1.b" in out),
    "custom_loss": (None, lambda out: lines_of(out, "LogCosh:")[0][0] < lines_of(out, "SquaredError:")[0][0]),
    "custom_optimizer": (None, lambda out: lines_of(out, "Lion")[0][0] > 90 and "[1.0, 1.0], m" in out),
    "distributed": ("mpi4py", lambda out: out.splitlines()[-1] == "4 arrays, equal to the bit: True"),
    "log_to_tensorboard": ("tensorboard", lambda out: out.count("epoch ") == 10),
    "own_loop": (None, lambda out: max(far for _, far in lines_of(out, "loss")) < 1e-12),
    "regression": (None, lambda out: lines_of(out, "'mae':")[0][0] < last(out)[0] / 3),
    "several_labels": (None, lambda out: lines_of(out, "'f1':")[0][0] > 0.95),
    "sklearn_pipeline": ("sklearn", lambda out: last(out)[-1] > 90),
    "table": (None, lambda out: lines_of(out, "'dog':")[0][0] > 0.9 > 0.1 > lines_of(out, "'dog':")[1][0]),
    "weights_to_pytorch": ("torch", lambda out: last(out)[-1] < 1e-5),
}


def test_there_are_at_least_twelve_and_a_row_of_the_table_for_each() -> None:
    assert [program.stem for program in PROGRAMS] == sorted(PROMISES)
    assert len(PROGRAMS) >= 12
    linked = re.findall(r"\]\((\w+)\.py\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(PROMISES)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_an_example_is_short_and_does_what_it_says(program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    needed, promise = PROMISES[program.stem]
    if needed:
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    assert len(program.read_text(encoding="utf-8").splitlines()) <= 60
    runpy.run_path(str(program), run_name="__main__")
    out = capfd.readouterr().out
    assert promise(out), out


def test_the_example_with_arrays_of_its_own_does_not_take_the_backend_of_auto(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is CuPy where a CUDA device works: arrays of array-api-strict do not mix with NumPy's either."""
    create = backends.selection._create
    monkeypatch.setattr(
        backends.selection, "_create", lambda name, device: create("strict" if name == "cupy" else name, device)
    )
    assert backends.select().name == "strict"
    runpy.run_path(str(FOLDER / "adversarial_image.py"), run_name="__main__")
    assert PROMISES["adversarial_image"][1](capfd.readouterr().out)
