"""`train --init-from`: a run begins with the weights of another where layers fit, and stands on its own after."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop.errors import UsageError
from nnbackprop.runs import train as runs
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.config_files import load_run_config, resolve
from nnbackprop.runs.run_dir import RunDir
from tests.support.commands import run, said

SMALL = ["train", "mnist-original", "--hidden", "6", "5", "--dropout", "0", "--batch-size", "8"]
SMALL += ["--progress", "plain"]
SETTINGS = {"hidden": (6, 5), "dropout": (), "batch_size": 8, "progress": "off"}

pytestmark = pytest.mark.usefixtures("two_clouds")


@pytest.fixture
def source() -> Path:
    """A trained run of two classes."""
    assert run(*SMALL, "--data", "two.npz", "--name", "source", "--epochs", "30") == 0
    return Path("runs/source")


def three_classes(name: str = "three.npz") -> str:
    labels = np.arange(60) % 3
    np.savez(name, X=np.random.default_rng(1).standard_normal((60, 3)) + 4 * labels[:, None], y=labels)
    return name


def initial_params(**settings: Any) -> Any:
    """The parameters of a run before its first step; it leaves no folder."""
    with runs.start(resolve("mnist-original", {**SETTINGS, **settings})) as started:
        return started.trainer.host_params()


def best(folder: Path) -> dict[str, np.ndarray]:
    return load(folder / "checkpoints" / "best.safetensors").arrays


def rows(name: str) -> list[dict[str, Any]]:
    return RunDir(Path("runs") / name).read_metrics()


def test_a_run_begins_where_the_other_ended(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = initial_params(data="two.npz", init_from="source")
    for i in (0, 2, 4):
        for name in ("W", "b"):
            assert np.array_equal(params[i][name], best(source)[f"params/{i}/{name}"])
    assert run(*SMALL, "--data", "two.npz", "--name", "fresh", "--epochs", "1") == 0
    assert run(*SMALL, "--data", "two.npz", "--name", "tuned", "--epochs", "1", "--init-from", "last") == 0
    assert "dense1, dense2, dense3 of" in said(capsys)  # `last` was the run called fresh
    capsys.readouterr()
    assert run(*SMALL, "--data", "two.npz", "--name", "tuned", "--epochs", "1", "--init-from", "source") == 0
    assert rows("tuned-2")[0]["train_loss"] < 0.2 * rows("fresh")[0]["train_loss"]
    assert load_run_config(Path("runs/tuned-2/config.toml")).init_from == str(source.absolute())


def test_the_last_layer_is_drawn_anew_for_other_classes(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = three_classes()
    fresh, params = initial_params(data=data), initial_params(data=data, init_from="source")
    assert np.array_equal(params[2]["W"], best(source)["params/2/W"])
    assert np.array_equal(params[4]["W"], fresh[4]["W"])
    assert run(*SMALL, "--data", data, "--epochs", "1", "--init-from", "source") == 0
    assert f"weights: dense1, dense2 of {source.absolute()}; drawn anew: dense3" in said(capsys)


def test_classes_of_other_names_have_a_new_last_layer_though_its_shape_fits(source: Path) -> None:
    with np.load("two.npz") as arrays:
        np.savez("renamed.npz", X=arrays["X"], y=arrays["y"] + 7)
    params, fresh = initial_params(data="renamed.npz", init_from="source"), initial_params(data="renamed.npz")
    assert np.array_equal(params[0]["W"], best(source)["params/0/W"])
    assert np.array_equal(params[4]["W"], fresh[4]["W"])


def test_layers_whose_shapes_differ_are_drawn_anew(source: Path) -> None:
    """The first fits; the second is wider, so that the last does not fit either."""
    settings = {**SETTINGS, "hidden": (6, 9), "data": "two.npz", "init_from": "source"}
    with runs.start(resolve("mnist-original", settings)) as started:
        transferred = started.transferred
    assert transferred is not None
    assert (transferred.taken, transferred.drawn) == (("dense1",), ("dense2", "dense3"))


def test_another_dtype_takes_the_same_numbers(source: Path) -> None:
    params = initial_params(data="two.npz", init_from="source", dtype="float64")
    assert params[0]["W"].dtype == np.float64
    assert np.array_equal(params[0]["W"], best(source)["params/0/W"])


def test_a_network_that_nothing_fits_is_refused_and_leaves_no_folder(source: Path) -> None:
    with pytest.raises(UsageError, match=r"no layer fits. That run has dense1 \(3, 6\).* dense1 \(3, 9\)"):
        initial_params(data=three_classes(), hidden=(9, 9), init_from="source")
    assert [path.name for path in Path("runs").iterdir()] == ["source"]


def test_a_run_that_is_not_there_is_refused() -> None:
    assert run(*SMALL, "--data", "two.npz", "--init-from", "elsewhere") == 5


def test_a_fine_tuned_run_replays_and_needs_the_other_no_more(source: Path) -> None:
    assert run(*SMALL, "--data", "two.npz", "--name", "tuned", "--epochs", "2", "--init-from", "source") == 0
    assert run("replay", "tuned", "--progress", "off") == 0
    shutil.rmtree(source)
    assert run("evaluate", "tuned") == 0
    assert run("train", "--resume", "tuned", "--epochs", "3", "--progress", "off") == 0
    assert [row["epoch"] for row in rows("tuned")] == [1, 2, 3]


def test_a_table_of_other_features_draws_its_first_layer_anew(tmp_path: Path) -> None:
    """Its shape fits: three numbers of other names. The name of the target decides on the last layer."""
    rng = np.random.default_rng(0)
    for name, columns in {"a": "u,v,w,y", "b": "u,v,x,y", "c": "u,v,w,z"}.items():
        values = "\n".join(",".join(f"{v:.3f}" for v in row) for row in rng.normal(size=(60, 4)))
        Path(f"{name}.csv").write_text(f"{columns}\n{values}\n", encoding="utf-8")
    words = ["--task", "regression", "--hidden", "4", "--dropout", "0", "--epochs", "1", "--progress", "off"]
    assert run("train", "a.csv", "--target", "y", *words) == 0
    taken = {}
    for data, target in (("a", "y"), ("b", "y"), ("c", "z")):
        settings = {"data": f"{data}.csv", "target": (target,), "task": "regression", "hidden": (4,)}
        settings |= {"dropout": (), "init_from": "a", "progress": "off"}
        with runs.start(resolve("table", settings)) as begun:
            assert begun.transferred is not None
            taken[data] = begun.transferred.taken
    assert taken == {"a": ("dense1", "dense2"), "b": ("dense2",), "c": ("dense1",)}
