"""A run folder written by version 0.1.0: it is evaluated, resumed, replayed and diagnosed as it was then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import select
from nnbackprop import TrainedModel
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.config_files import load_run_config
from nnbackprop.runs.run_dir import RunDir, environment
from tests.support.commands import draw_no_plots, run, said

DATA = Path(__file__).parent / "data"
KEPT = DATA / "v0.1"

pytestmark = pytest.mark.usefixtures("run_dir")


@pytest.fixture
def run_dir(in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A copy of the run's folder, where its data lies: 60 flowers of 3 kinds, a 4-6-5-3 network, Adam, cosine."""
    draw_no_plots(monkeypatch)
    shutil.copy(DATA / "flowers.csv", "flowers.csv")
    return RunDir(Path(shutil.copytree(KEPT, "runs/v0.1")))


def read_json(name: str) -> dict[str, Any]:
    return json.loads((KEPT / name).read_text(encoding="utf-8"))


def same_environment() -> bool:
    """Whether sums are added up in the same order here as where the run was trained."""
    kept, now = read_json("env.json"), environment(select("numpy"))
    names = ("library", "blas", "processor")
    numba = [env["packages"].get("numba") for env in (kept, now)]
    return all(kept[name] == now[name] for name in names) and numba[0] == numba[1]


def test_the_former_configuration_is_read_with_the_present_names() -> None:
    read = load_run_config(KEPT / "config.toml")
    assert (read.scale, read.init, read.hidden, read.norm) == ("rashid", "fan-out-normal", (6, 5), None)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_former_weights_have_the_loss_and_accuracy_of_their_summary(part: str) -> None:
    from nnbackprop.runs.run_data import RunData

    model, kept = TrainedModel.open("v0.1"), read_json("summary.json")
    score = model.evaluate(RunData.load(model.config).parts[part])
    assert score.loss == pytest.approx(kept[f"{part}_loss"], rel=1e-6)
    assert score.accuracy == kept[f"{part}_accuracy"]


def test_evaluate_prints_the_figures_of_the_former_summary(capsys: pytest.CaptureFixture[str]) -> None:
    kept = read_json("summary.json")
    assert run("evaluate", "v0.1") == 0
    assert f"loss {kept['test_loss']:.4f}, accuracy {kept['test_accuracy']:.4f} of 12 samples" in said(capsys)


def test_the_former_run_resumed_from_step_28_ends_with_the_same_bits(run_dir: RunDir) -> None:
    shutil.move(run_dir.checkpoints_dir / "step-00000028.safetensors", run_dir.checkpoint_path("last"))
    assert run("train", "--resume", "v0.1", "--progress", "off") == 0
    for which in ("last", "best"):
        ours, kept = load(run_dir.checkpoint_path(which)), load(KEPT / "checkpoints" / f"{which}.safetensors")
        assert ours.arrays.keys() == kept.arrays.keys()
        for name, array in kept.arrays.items():
            np.testing.assert_allclose(ours.arrays[name], array, rtol=1e-5, atol=1e-7)
            if same_environment():
                assert ours.arrays[name].tobytes() == array.tobytes()
    ours, kept = (
        run_dir.read_metrics()[-1],
        json.loads((KEPT / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]),
    )
    for name in ("epoch", "step", "lr", "train_accuracy", "validation_accuracy"):
        assert ours[name] == kept[name]
    assert ours["train_loss"] == pytest.approx(kept["train_loss"], rel=1e-6)


def test_the_former_run_replays(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("replay", "v0.1") == 0


def test_the_former_diagnosis_is_read(run_dir: RunDir) -> None:
    kept = read_json("doctor.json")
    assert Diagnosis.from_json(run_dir.read_json("doctor.json") or {}).to_json() == kept


def test_doctor_diagnoses_the_former_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "v0.1") in (0, 1)
    assert "error:" not in said(capsys)
