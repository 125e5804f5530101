"""`nnbackprop doctor`: which checks run, what it prints, and the status it exits with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.diagnostics.doctor import DATA_CHECKS, START_CHECKS, TRAINED_CHECKS
from nnbackprop.diagnostics.monitor import RUN_CHECKS
from nnbackprop.runs import checkpoint as checkpoints
from tests.support.commands import run

EVERY = {*DATA_CHECKS, *START_CHECKS, *RUN_CHECKS}
SMALL = ["--hidden", "16", "--dropout", "0", "--backend", "numpy", "--batch-size", "20"]


pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def clouds(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.arange(n) % 4)
    return rng.standard_normal((4, 6))[labels] + 0.3 * rng.standard_normal((n, 6)), labels


def written(labels: np.ndarray | None = None, inputs: np.ndarray | None = None) -> str:
    """A .npz file of clouds, with other labels or inputs where they are given."""
    x, t = clouds()
    np.savez("set.npz", X=x if inputs is None else inputs, y=t if labels is None else labels)
    return "set.npz"


def diagnose(capsys: pytest.CaptureFixture[str], *words: str, status: int) -> dict[str, Any]:
    """The JSON on stdout, with nothing beside it, of a command that exits with `status`."""
    capsys.readouterr()
    assert run("doctor", *words, "--json") == status
    values = json.loads(capsys.readouterr().out)
    assert list(values) == ["findings", "passed", "not_applicable"]
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
    assert checked(values) == EVERY


def test_a_healthy_set_under_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "mnist", "--data", written(), *SMALL, "--epochs", "30", status=0)
    assert values["findings"] == []
    assert checked(values) == EVERY


def test_a_finding_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "--data", written(), "--scale", "none", status=0)
    assert checked(values) == set(DATA_CHECKS)
    values = diagnose(capsys, "--data", written(inputs=1000 * clouds()[0]), "--scale", "none", status=1)
    assert ids(values) == {"inputs-unscaled": "warning"}
    (finding,) = values["findings"]
    assert set(finding) == {"id", "level", "evidence", "cause", "fix"}


def test_a_note_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "--data", written(labels=clouds()[1] + 1), status=0)
    assert ids(values) == {"labels-off-by-one": "note"}


def test_the_report_names_the_finding_and_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    x, t = clouds()
    order = np.argsort(t, kind="stable")
    data = written(labels=t[order], inputs=x[order])
    assert run("doctor", "--data", data, "--no-shuffle") == 1
    report = capsys.readouterr().out
    assert "classes-sorted" in report
    assert "--no-shuffle" in report
    assert "1 fault" in report


def test_data_that_cannot_be_trained_on_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    x, t = clouds()
    x[3, 1] = np.nan
    assert run("train", "mnist", "--data", written(inputs=x), *SMALL) == 3
    values = diagnose(capsys, "mnist", "--data", "set.npz", *SMALL, status=1)
    assert ids(values) == {"inputs-not-finite": "fault"}
    assert set(START_CHECKS) <= set(values["not_applicable"])
    values = diagnose(capsys, "mnist", "--data", written(labels=np.eye(4)[t]), *SMALL, status=1)
    assert ids(values) == {"labels-encoded-twice": "fault"}


def test_more_classes_than_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "mnist", "--data", written(), *SMALL, "--outputs", "3", status=1)
    assert ids(values) == {"labels-range": "fault"}


def test_first_weights_that_are_too_large(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "mnist", "--data", written(), *SMALL, "--init", "normal:5", "--lr", "1e-5", status=1)
    assert ids(values)["initial-loss"] == "warning"


@pytest.mark.parametrize(
    ("unit", "flags"), [(1, ["--init", "normal:1e308"]), (1e-45, ["--dtype", "float32", "--scale", "per-feature"])]
)
def test_a_start_that_cannot_be_trained_is_a_finding(
    unit: float, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    values = diagnose(capsys, "mnist", "--data", written(inputs=unit * clouds()[0]), *SMALL, *flags, status=1)
    assert ids(values)["initial-loss"] == "fault"
    assert set(RUN_CHECKS) <= set(values["not_applicable"])
    assert checked(values) == EVERY


def test_training_that_diverges(capsys: pytest.CaptureFixture[str]) -> None:
    values = diagnose(capsys, "mnist", "--data", written(), *SMALL, "--lr", "1e30", status=1)
    assert ids(values)["not-finite"] == "fault"
    assert (set(START_CHECKS) - set(TRAINED_CHECKS)) <= set(values["passed"])


def test_a_toml_file_is_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(f'data = "{written()}"\nhidden = [16]\nepochs = 5\nbackend = "numpy"\n')
    assert checked(diagnose(capsys, "mine.toml", status=0)) == EVERY


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained with its doctor on."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = str(folder / written())
        words = ("--epochs", "30", "--progress", "off", "--doctor", "--name", "kept")
        assert run("train", "mnist", "--data", data, *SMALL, *words) == 0
    return folder / "runs/kept"


@pytest.fixture
def trained(kept: Path) -> Path:
    """A copy of it, of which nobody's doctor has said anything yet."""
    folder = Path(shutil.copytree(kept, "runs/kept"))
    (folder / "doctor.json").unlink()
    return folder


def test_a_run_is_checked_with_its_metrics(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("last", "kept", str(trained)):
        values = diagnose(capsys, name, status=0)
        assert values["findings"] == []
        assert checked(values) == EVERY


def test_findings_kept_by_an_older_version_are_read(
    kept: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((kept / "doctor.json").read_text())
    finding = {"id": "dead-relu", "level": "warning", "evidence": "e", "cause": "c", "fix": "f"}
    told["findings"] = [{**finding, "confidence": 0.5}]  # as 0.1.0 wrote it
    (trained / "doctor.json").write_text(json.dumps(told))
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
    assert run("train", "mnist", *words) == 4
    assert ids(diagnose(capsys, "a", status=1)) == {"not-finite": "fault", "rate-too-high": "warning"}


@pytest.mark.parametrize("flags", [[], ["--doctor"]])
def test_a_rate_too_low_is_not_an_ignored_input(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", written(), *SMALL, "--seed", "1", "--activation", "sigmoid", "--lr", "1e-4", *flags]
    assert run("train", "mnist", *words, "--epochs", "2", "--progress", "off", "--name", "a") == 0
    assert ids(diagnose(capsys, "a", status=1)) == {"rate-too-low": "warning"}


def test_a_regression_target_is_not_called_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    x, _ = clouds()
    prices = np.argsort(np.argsort(x.sum(axis=1))) * 1000
    Path("houses.csv").write_text("\n".join(",".join(map(str, row)) for row in np.column_stack([prices, x])))
    values = diagnose(capsys, "--data", "houses.csv", "--test-fraction", "0", status=1)
    assert ids(values) == {"labels-range": "fault"}
    assert {"classes-sorted", "classes-imbalanced"} <= set(values["not_applicable"])


def test_settings_of_a_run_cannot_be_overridden(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "last", "--hidden", "8") == 2
    assert "leave out --hidden" in capsys.readouterr().err


def test_an_unknown_target_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "minst") == 2
    assert (
        "names no recipe (ex4, mnist, rashid, weight-height), no .toml file and no run" in capsys.readouterr().err
    )


def test_a_damaged_doctor_json_is_an_error(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "doctor.json").write_text("{}")
    assert run("doctor", "last") == 5
    assert "cannot be read as a diagnosis" in capsys.readouterr().err
