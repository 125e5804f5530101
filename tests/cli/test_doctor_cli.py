"""`nnbackprop doctor`: which checks run, what it prints, and the status it exits with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.diagnostics.doctor import DATA_CHECKS, LAYER_CHECKS, START_CHECKS, TRAINED_CHECKS
from nnbackprop.diagnostics.monitor import RUN_CHECKS
from nnbackprop.runs import checkpoint as checkpoints
from nnbackprop.runs.config_files import recipes
from tests.support.clouds import clouds
from tests.support.commands import draw_no_plots, run

ALL_CHECKS = {*DATA_CHECKS, *START_CHECKS, *LAYER_CHECKS, *RUN_CHECKS}
SMALL = ["--hidden", "16", "--dropout", "0", "--backend", "numpy", "--batch-size", "20"]


pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


X, T = clouds(spread=0.3)


def written(labels: np.ndarray = T, inputs: np.ndarray = X) -> str:
    np.savez("set.npz", X=inputs, y=labels)
    return "set.npz"


def diagnose(capsys: pytest.CaptureFixture[str], *words: str, status: int) -> dict[str, Any]:
    """The JSON on stdout, with nothing beside it, of a command that exits with `status`."""
    capsys.readouterr()
    assert run("doctor", *words, "--json") == status
    values = json.loads(capsys.readouterr().out)
    assert [name for name in values if name != "description"] == ["findings", "passed", "not_applicable"]
    ids = [*(f["id"] for f in values["findings"]), *values["passed"], *values["not_applicable"]]
    assert len(ids) == len(set(ids))
    return values


def ids(values: dict[str, Any]) -> dict[str, str]:
    return {finding["id"]: finding["level"] for finding in values["findings"]}


def checked(values: dict[str, Any]) -> set[str]:
    return {*ids(values), *values["passed"], *values["not_applicable"]}


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_a_recipe_is_checked_from_data_to_training(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "weight-height", "--seed", seed, status=0)
    assert values["findings"] == []
    assert checked(values) == ALL_CHECKS


def test_a_healthy_data_set_passes_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "mnist-original", "--data", written(), *SMALL, "--epochs", "30", status=0)
    assert values["findings"] == []
    assert checked(values) == ALL_CHECKS


@pytest.mark.parametrize(
    ("labels", "inputs", "expected"),
    [
        (T, X, {}),
        (T + 1, X, {"labels-off-by-one": "note"}),
        (T, 1000 * X, {"inputs-unscaled": "warning"}),
        (np.eye(4)[T], X, {"labels-encoded-twice": "fault"}),
    ],
)
def test_warnings_and_faults_of_data_alone_exit_with_1(
    labels: np.ndarray, inputs: np.ndarray, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = int(not {"warning", "fault"}.isdisjoint(expected.values()))
    values = diagnose(capsys, "--data", written(labels, inputs), "--scale", "none", status=status)
    assert ids(values) == expected
    assert checked(values) == set(DATA_CHECKS)
    assert all(set(f) == {"id", "level", "evidence", "cause", "fix"} for f in values["findings"])


def test_the_report_names_the_finding_and_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    order = np.argsort(T, kind="stable")
    data = written(T[order], X[order])
    assert run("doctor", "--data", data, "--no-shuffle") == 1
    report = capsys.readouterr().out
    assert "classes-sorted" in report
    assert "--no-shuffle" in report
    assert "1 fault" in report


def test_data_that_cannot_be_trained_on_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    data = written(inputs=np.where(X[3, 1] == X, np.nan, X))
    assert run("train", "mnist-original", "--data", data, *SMALL) == 3
    values = diagnose(capsys, "mnist-original", "--data", data, *SMALL, status=1)
    assert ids(values) == {"inputs-not-finite": "fault"}
    assert set(START_CHECKS) <= set(values["not_applicable"])
    values = diagnose(capsys, "mnist-original", "--data", written(labels=np.eye(4)[T]), *SMALL, status=1)
    assert ids(values) == {"labels-encoded-twice": "fault"}
    assert "argmax(axis=1)" in values["findings"][0]["fix"]


def test_more_classes_than_outputs_are_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "mnist-original", "--data", written(), *SMALL, "--n-outputs", "3", status=1)
    assert ids(values) == {"labels-range": "fault"}


def test_too_large_initial_weights_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(
        capsys, "mnist-original", "--data", written(), *SMALL, "--init", "normal:5", "--lr", "1e-5", status=1
    )
    assert ids(values)["initial-loss"] == "warning"


@pytest.mark.parametrize(
    ("unit", "flags"), [(1, ["--init", "normal:1e308"]), (1e-45, ["--dtype", "float32", "--scale", "per-feature"])]
)
def test_a_start_that_cannot_be_trained_is_a_finding(
    unit: float, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    values = diagnose(capsys, "mnist-original", "--data", written(inputs=unit * X), *SMALL, *flags, status=1)
    assert ids(values)["initial-loss"] == "fault"
    assert set(RUN_CHECKS) <= set(values["not_applicable"])
    assert checked(values) == ALL_CHECKS


def test_training_that_diverges(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "mnist-original", "--data", written(), *SMALL, "--lr", "1e30", status=1)
    assert ids(values)["not-finite"] == "fault"
    assert (set(START_CHECKS) - set(TRAINED_CHECKS)) <= set(values["passed"])


def test_a_toml_file_is_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(
        f'data = "{written()}"\nhidden = [16]\nepochs = 5\nbackend = "numpy"\n', encoding="utf-8"
    )
    assert checked(diagnose(capsys, "mine.toml", status=0)) == ALL_CHECKS


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained with --doctor."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw_no_plots(patch)
        data = str(folder / written())
        words = ("--epochs", "30", "--progress", "off", "--doctor", "--name", "kept")
        assert run("train", "mnist-original", "--data", data, *SMALL, *words) == 0
    return folder / "runs/kept"


@pytest.fixture
def trained(kept: Path) -> Path:
    """A copy of it without its doctor.json."""
    folder = Path(shutil.copytree(kept, "runs/kept"))
    (folder / "doctor.json").unlink()
    return folder


def test_a_run_is_checked_with_its_metrics(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("last", "kept", str(trained)):
        values = diagnose(capsys, name, status=0)
        assert values["findings"] == []
        assert checked(values) == ALL_CHECKS


def test_findings_kept_by_an_older_version_are_read(
    kept: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((kept / "doctor.json").read_text(encoding="utf-8"))
    finding = {"id": "dead-relu", "level": "warning", "evidence": "e", "cause": "c", "fix": "f"}
    told["findings"] = [{**finding, "confidence": 0.5}]  # as 0.1.0 wrote it
    (trained / "doctor.json").write_text(json.dumps(told), encoding="utf-8")
    values = diagnose(capsys, "last", status=1)
    assert values["findings"] == [finding]


def test_the_weights_of_a_run_are_checked(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of zero leave the biases to decide."""
    best = trained / "checkpoints/best.safetensors"
    checkpoint = checkpoints.load(best)
    arrays = {name: a * (0 if a.ndim == 2 else 1) for name, a in checkpoint.arrays.items()}
    checkpoints.save(best, checkpoints.Checkpoint(arrays, checkpoint.meta))
    assert ids(diagnose(capsys, "last", status=1)) == {"input-ignored": "fault"}


def test_a_run_that_diverged_at_once_is_not_told_that_it_ignores_its_input(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With seed 1 the initial weights do worse than an input of zeros, by chance."""
    words = ["--data", written(), *SMALL, "--seed", "1", "--lr", "1e30", "--progress", "off", "--name", "a"]
    assert run("train", "mnist-original", *words) == 4
    assert ids(diagnose(capsys, "a", status=1)) == {"not-finite": "fault", "rate-too-high": "warning"}


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("flags", [[], ["--doctor"]])
def test_a_rate_too_low_is_not_an_ignored_input(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", written(), *SMALL, "--seed", "1", "--activation", "sigmoid", "--lr", "1e-4", *flags]
    assert run("train", "mnist-original", *words, "--epochs", "2", "--progress", "off", "--name", "a") == 0
    assert ids(diagnose(capsys, "a", status=1)) == {"rate-too-low": "warning"}


def test_a_regression_target_is_not_called_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    prices = np.argsort(np.argsort(X.sum(axis=1))) * 1000
    Path("houses.csv").write_text(
        "\n".join(",".join(map(str, row)) for row in np.column_stack([X, prices])), encoding="utf-8"
    )
    values = diagnose(capsys, "--data", "houses.csv", "--test-fraction", "0", status=0)
    assert ids(values) == {}
    assert {"labels-range", "classes-sorted", "classes-imbalanced"} <= set(values["not_applicable"])


def test_settings_of_a_run_cannot_be_overridden(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "last", "--hidden", "8") == 2
    assert "leave out --hidden" in capsys.readouterr().err


def test_an_unknown_target_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "minst") == 2
    assert f"names no recipe ({', '.join(recipes())}), no .toml file and no run" in capsys.readouterr().err


def test_a_damaged_doctor_json_is_an_error(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "doctor.json").write_text("{}", encoding="utf-8")
    assert run("doctor", "last") == 5
    assert "cannot be read as a diagnosis" in capsys.readouterr().err


def test_numbers_as_targets_are_not_judged_as_classes(capsys: pytest.CaptureFixture[str]) -> None:
    """House prices, in the order of the file: neighbours differ nearly always, as they should."""
    rng = np.random.default_rng(0)
    size = rng.normal(100, 20, 400).round(1)
    rows = "".join(f"{a},{b},{1000 * a + b:.0f}\n" for a, b in zip(size, rng.normal(0, 9000, 400), strict=True))
    Path("houses.csv").write_text(f"size,garden,price\n{rows}", encoding="utf-8")
    found = diagnose(capsys, "--data", "houses.csv", status=0)
    assert [finding for finding in found["findings"] if finding["id"].startswith(("classes-", "labels-"))] == []
    assert {"classes-sorted", "classes-imbalanced", "labels-range"} <= {*found["not_applicable"]}
