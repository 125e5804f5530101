"""Draw and look: predictions, gradients and views of a network of digits, each against its own definition."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import select
from nnbackprop.data.bundled import FOLDER
from nnbackprop.data.catalog import load
from nnbackprop.data.readers import idx
from nnbackprop.errors import DataError
from nnbackprop.lab.drawings import Drawings
from nnbackprop.lab.errors import RequestError
from nnbackprop.lab.messages import Picture
from nnbackprop.lab.principal_components import principal_components
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.train import start
from nnbackprop.runs.trained_model import TrainedModel
from tests.support.lab_client import Client, as_picture, drawn_seven, from_picture, serving, wait_until

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

N, HIDDEN = 1500, 24


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of some of MNIST's test digits, `digits`."""
    place = tmp_path_factory.mktemp("lab")
    test = idx.read_part(FOLDER, "t10k")
    (place / "data").mkdir()
    for part, rows in (("train", slice(0, N)), ("t10k", slice(N, N + 300))):
        for kind, array in (("images-idx3", test.inputs[rows]), ("labels-idx1", test.labels[rows])):
            content = idx.to_bytes(np.asarray(array).reshape(-1, 28, 28) if kind == "images-idx3" else array)
            (place / "data" / f"{part}-{kind}-ubyte").write_bytes(content)
    settings = {
        "data": str(place / "data"), "hidden": [HIDDEN], "dropout": [], "epochs": 6, "batch_size": 20,
        "name": "digits", "runs_dir": str(place / "runs"), "backend": "numpy",
    }  # fmt: skip
    with start(resolve("mnist", settings)) as run:
        run.fit()
    return place / "runs"


@pytest.fixture(scope="module")
def client(runs: Path) -> Iterator[Client]:
    with serving(runs, run="digits") as (_, client):
        yield client


@pytest.fixture(scope="module")
def trained(runs: Path) -> TrainedModel:
    return TrainedModel.open("digits", runs, select("numpy"))


def signed(picture: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(picture["values"]), "<f4")
    return values.reshape(picture["rows"], picture["columns"])


def input_of(answer: dict[str, Any]) -> np.ndarray:
    """The network's input (1, 784), as the last stage shows it."""
    return from_picture(answer["stages"][-1]["picture"]).reshape(1, -1)


def test_a_drawn_seven_is_a_seven_and_is_prepared_as_mnists_digits_were(
    client: Client, trained: TrainedModel
) -> None:
    answer = client.post("/api/predict", drawing=as_picture(drawn_seven()))
    assert answer["classes"][answer["predicted"]] == "7"
    assert [stage["name"] for stage in answer["stages"]] == ["grey", "ink", "cropped", "fitted", "centred"]
    digit = from_picture(answer["stages"][-1]["picture"])
    rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
    assert max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 == 20
    assert trained.predict_proba(input_of(answer))[0].tolist() == answer["probabilities"]


def test_ink_may_be_dark_on_light(client: Client) -> None:
    bright, dark = (
        client.post("/api/predict", drawing=as_picture(d)) for d in (drawn_seven(), 255 - drawn_seven())
    )
    assert [stage["name"] for stage in dark["stages"]][1] == "inverted"
    assert dark["probabilities"] == pytest.approx(bright["probabilities"], abs=1e-6)


def test_the_outputs_of_every_layer_are_those_of_the_network(client: Client, trained: TrainedModel) -> None:
    answer = client.post("/api/predict", drawing=as_picture(drawn_seven()))
    params = [{k: np.asarray(a) for k, a in layer.items()} for layer in trained.params if layer]
    z1 = trained.evaluator.scaling.apply(input_of(answer), "float32") @ params[0]["W"] + params[0]["b"]
    found = {layer["name"]: layer for layer in answer["activations"]}
    assert list(found) == ["dense1", "relu1", "dense2"]
    np.testing.assert_allclose(found["dense1"]["values"], z1[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["relu1"]["values"], np.maximum(z1[0], 0), rtol=1e-4, atol=1e-5)
    assert found["relu1"]["zeros"] == np.mean(z1 <= 0)


def test_the_input_gradient_is_that_of_the_class_asked_for(client: Client, trained: TrainedModel) -> None:
    """By central differences of the class's logit, of the pixels where it is largest."""
    answer = client.post("/api/predict", drawing=as_picture(drawn_seven()), explain=8)
    assert answer["gradient"]["class"] == 8
    gradient, x = signed(answer["gradient"]["picture"]).ravel(), input_of(answer).astype(np.float64)
    W = [{k: np.asarray(a, np.float64) for k, a in layer.items()} for layer in trained.params if layer]

    def logit(x: np.ndarray) -> float:
        h = np.maximum(trained.evaluator.scaling.apply(x, "float64") @ W[0]["W"] + W[0]["b"], 0)
        return float((h @ W[1]["W"] + W[1]["b"])[0, 8])

    for pixel in np.argsort(-np.abs(gradient))[:5]:
        step = np.zeros_like(x)
        step[0, pixel] = 1e-3
        assert gradient[pixel] == pytest.approx((logit(x + step) - logit(x - step)) / 2e-3, rel=1e-3)


def test_a_single_output_of_two_classes_gives_the_probability_of_each(client: Client, runs: Path) -> None:
    """The output is that of class 1; the bars are of class 0 and class 1."""
    test = idx.read_part(FOLDER, "t10k")
    some = np.asarray(test.labels) < 2
    np.savez(runs.parent / "two.npz", X=np.asarray(test.inputs)[some][:100], y=np.asarray(test.labels)[some][:100])
    settings = {
        "data": str(runs.parent / "two.npz"), "hidden": [4], "dropout": [], "epochs": 1, "n_outputs": 1,
        "loss": "binary-cross-entropy", "name": "two", "runs_dir": str(runs), "backend": "numpy",
    }  # fmt: skip
    with start(resolve("mnist", settings)) as run:
        run.fit()
    answer = client.post("/api/predict", drawing=as_picture(drawn_seven()), run="two", attack={"epsilon": 0.1})
    p = float(TrainedModel.open("two", runs, select("numpy")).predict_proba(input_of(answer))[0, 0])
    assert answer["probabilities"] == pytest.approx([1 - p, p], rel=1e-4)
    attacked = answer["attack"]
    assert len(attacked["probabilities"]) == 2
    assert attacked["probabilities"][answer["predicted"]] < answer["probabilities"][answer["predicted"]]


def test_an_attack_moves_each_pixel_by_epsilon_within_the_range_and_lowers_the_class(client: Client) -> None:
    before = client.post("/api/predict", drawing=as_picture(drawn_seven()))
    attack = client.post("/api/predict", drawing=as_picture(drawn_seven()), attack={"epsilon": 0.1})["attack"]
    moved = from_picture(attack["picture"]).astype(int) - input_of(before).reshape(28, 28).astype(int)
    assert attack["label"] == before["predicted"]
    assert 25 <= np.abs(moved).max() <= 26
    assert attack["probabilities"][attack["label"]] < before["probabilities"][before["predicted"]]
    unmoved = client.post("/api/predict", drawing=as_picture(drawn_seven()), attack={"epsilon": 0.0})["attack"]
    assert unmoved["probabilities"] == before["probabilities"]


@pytest.mark.parametrize("grey", [0, 255])
def test_a_blank_drawing_is_no_digit(client: Client, grey: int) -> None:
    status, answer = client.ask("/api/predict", drawing=as_picture(np.full((112, 112), grey, np.uint8)))
    assert (status, answer["error"]["kind"]) == (422, "data")


def test_without_a_trained_network_the_answer_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        status, answer = client.ask("/api/predict", drawing=as_picture(drawn_seven()))
    assert (status, answer["error"]["kind"]) == (404, "missing")
    assert "train" in answer["error"]["message"]


def test_the_run_in_training_predicts_by_its_weights_as_they_stand(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    with serving(tmp_path / "runs") as (_, client):
        client.post("/api/control", action="resume", run="digits", epochs=8)
        client.post("/api/control", action="pause")
        step = client.wait("paused")["step"]
        seven = as_picture(drawn_seven())
        probabilities = []
        for k in range(3):
            answer = client.post("/api/predict", drawing=seven)
            assert answer["model"] == {"run": "digits", "step": step + k, "title": f"784-{HIDDEN}-10"}
            probabilities.append(answer["probabilities"])
            client.post("/api/control", action="step")
            wait_until(lambda k=k: client.wait("paused")["step"] == step + k + 1)
    assert probabilities[0] != probabilities[1] != probabilities[2]


def test_a_run_in_training_is_not_opened_anew_as_it_saves_other_weights(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    with serving(tmp_path / "runs") as (_, client):
        client.post("/api/control", action="resume", run="digits", epochs=8)
        client.post("/api/control", action="pause")
        step = client.wait("paused")["step"]
        client.post("/api/predict", drawing=as_picture(drawn_seven()))
        for path in (tmp_path / "runs" / "digits" / "checkpoints").iterdir():
            path.touch()
        monkeypatch.delattr(TrainedModel, "open")
        answer = client.post("/api/predict", drawing=as_picture(drawn_seven()))
        assert answer["model"]["step"] == step


def test_the_folder_of_a_paused_run_that_was_deleted_is_missing_and_no_fault(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "digits", tmp_path / "digits")
    with serving(tmp_path) as (_, client):
        client.post("/api/control", action="resume", run="digits", epochs=8)
        client.post("/api/control", action="pause")
        client.wait("paused")
        client.post("/api/predict", drawing=as_picture(drawn_seven()))
        (tmp_path / "digits").rename(tmp_path.parent / f"{tmp_path.name}-moved")
        status, answer = client.ask("/api/predict", drawing=as_picture(drawn_seven()))
        assert (status, answer["error"]["id"]) == (404, "no-run")
        assert client.get("/api/network") == {"network": False}
        (tmp_path.parent / f"{tmp_path.name}-moved").rename(tmp_path / "digits")


def test_drawings_are_kept_as_idx_and_can_be_trained_on(runs: Path) -> None:
    with serving(runs) as (server, client):
        status, answer = client.ask("/api/train", recipe="mnist", data="drawings")
        assert (status, answer["error"]["kind"]) == (422, "data")
        kept = [client.post("/api/dataset", drawing=as_picture(drawn_seven()), label=7) for _ in range(6)]
        turned = as_picture(np.rot90(drawn_seven()))
        for _ in range(5):
            client.post("/api/dataset", drawing=turned, label=1)
        assert client.post("/api/dataset", forget="last")["drawings"] == client.get("/api/dataset")
        found = client.get("/api/dataset")
        assert (found["n"], found["counts"][7], found["counts"][1], found["trainable"]) == (10, 6, 4, True)
        data = load(str(server.lab.drawings.folder), split=False).train
        np.testing.assert_array_equal(data.inputs[0].reshape(28, 28), from_picture(kept[0]["picture"]))
        assert np.bincount(data.targets).tolist() == [4, 6]
        state, _ = client.train_to_end(recipe="mnist", data="drawings", hidden=[4], epochs=2, batch_size=2)
        assert (state["status"], state["run"]) == ("finished", "drawings")


def test_the_confusion_matrix_counts_what_is_predicted(client: Client, trained: TrainedModel) -> None:
    data = trained.data()
    predicted = trained.predict(data.inputs)
    found = client.post("/api/look", view="confusion")
    counts = np.array(found["counts"])
    assert (found["n"], counts.sum(), np.trace(counts)) == (300, 300, np.sum(predicted == data.targets))
    assert counts[7, 7] == np.sum((data.targets == 7) & (predicted == 7))
    cell = client.post("/api/look", view="cell", true=7, predicted=7)
    assert cell["total"] == counts[7, 7]
    assert all((s["label"], s["predicted"]) == ("7", "7") for s in cell["samples"])


def test_the_wrongest_come_first_with_their_pictures(client: Client, trained: TrainedModel) -> None:
    data = trained.data()
    found = client.post("/api/look", view="wrong")
    assert found["total"] == np.sum(trained.predict(data.inputs) != data.targets) > 0
    probabilities = [s["probability"] for s in found["samples"]]
    assert probabilities == sorted(probabilities, reverse=True)
    first = found["samples"][0]
    np.testing.assert_array_equal(from_picture(first["picture"]), data.inputs[first["index"]].reshape(28, 28))
    one = client.post("/api/look", view="sample", index=first["index"])
    assert one["probabilities"][int(first["predicted"])] == first["probability"]


def test_pictures_of_first_weights_are_those_into_each_unit(client: Client, trained: TrainedModel) -> None:
    found = client.post("/api/look", view="weights")
    W = np.asarray(next(layer for layer in trained.params if layer)["W"])
    assert found["total"] == len(found["units"]) == HIDDEN
    np.testing.assert_array_equal(signed(found["units"][3]["picture"]).ravel(), W[:, 3])


def test_the_best_inputs_of_a_unit_are_those_of_its_greatest_output(client: Client, trained: TrainedModel) -> None:
    found = client.post("/api/look", view="unit", layer="relu1", unit=5)
    params = next(layer for layer in trained.params if layer)
    x = trained.evaluator.scaling.apply(trained.data().inputs, "float32")
    answers = np.maximum(x @ np.asarray(params["W"]) + np.asarray(params["b"]), 0)[:, 5]
    assert found["samples"][0]["index"] == int(np.argmax(answers))
    assert found["samples"][0]["activation"] == pytest.approx(answers.max(), rel=1e-4)
    assert [layer["name"] for layer in found["layers"]] == ["dense1", "relu1"]


def test_principal_components_are_those_of_the_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 30)) * np.linspace(2, 0.1, 30) + 5
    scores, variances, total = principal_components(x)
    U, S, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(variances, S[:2] ** 2 / 200, rtol=1e-6)
    assert total == pytest.approx(np.sum(S**2) / 200, rel=1e-12)
    for k in range(2):
        assert abs(np.corrcoef(scores[:, k], U[:, k])[0, 1]) == pytest.approx(1, abs=1e-5)


def test_the_map_has_a_point_a_sample_and_says_how_much_it_shows(client: Client, trained: TrainedModel) -> None:
    found = client.post("/api/look", view="map")
    assert found["layer"] == "relu1"
    assert len(found["points"]) == len(found["labels"]) == 300
    points = np.array(found["points"])
    assert np.var(points[:, 0]) > np.var(points[:, 1])
    assert 0 < found["explained"][1] < found["explained"][0] < 1


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ({"view": "cell", "true": 7}, "send both"),
        ({"view": "unit", "unit": HIDDEN}, f"has {HIDDEN} units"),
        ({"view": "unit", "layer": "relu9"}, "Known are dense1, relu1"),
        ({"view": "map", "layer": "dense2"}, "no hidden layer 'dense2'"),
        ({"view": "sample", "index": 300}, "there are 300, counted from 0"),
    ],
)
def test_a_view_of_what_is_not_there_says_what_there_is(
    client: Client, view: dict[str, Any], problem: str
) -> None:
    status, answer = client.ask("/api/look", **view)
    assert (status, answer["error"]["kind"]) == (422, "usage")
    assert problem in answer["error"]["message"]


@pytest.mark.parametrize("part", [{"explain": 10}, {"attack": {"epsilon": 0.1, "label": 10}}])
def test_a_class_beyond_the_last_is_refused(client: Client, part: dict[str, Any]) -> None:
    status, answer = client.ask("/api/predict", drawing=as_picture(drawn_seven()), **part)
    assert (status, answer["error"]["message"]) == (
        422,
        "There is no class 10: the network knows 10, counted from 0.",
    )


def test_views_of_runs_without_images_hidden_layers_or_classes(tmp_path: Path) -> None:
    """Each says what it was trained on; samples that are no images are numbers."""
    for name, recipe, hidden in (("plain", "iris", []), ("deep", "iris", [4]), ("numbers", "house-prices", [4])):
        settings = {"hidden": hidden, "dropout": [], "epochs": 1, "name": name, "runs_dir": str(tmp_path)}
        with start(resolve(recipe, settings)) as run:
            run.fit()
    with serving(tmp_path) as (_, client):
        refusals = [("map", "plain", "no hidden layer"), ("confusion", "numbers", "learns numbers")]
        refusals += [("unit", "deep", "no images"), ("weights", "deep", "no first layer of images")]
        for view, name, problem in refusals:
            status, answer = client.ask("/api/look", view=view, run=name)
            assert (status, answer["error"]["kind"]) == (422, "data")
            assert problem in answer["error"]["message"]
        shown = client.post("/api/look", view="sample", run="deep", index=0)
        assert (shown["picture"], len(shown["values"])) == (None, 4)
        status, answer = client.ask("/api/look", view="confusion")  # of the newest run
        assert answer["error"]["message"].startswith("numbers learns numbers")
        status, answer = client.ask("/api/predict", drawing=as_picture(drawn_seven()), run="deep")
        assert (status, "no grey images of classes" in answer["error"]["message"]) == (422, True)
        status, answer = client.ask("/api/predict", drawing=as_picture(drawn_seven()))
        assert (status, answer["error"]["kind"]) == (404, "missing")
        assert "no trained network of images yet" in answer["error"]["message"]


def test_no_run_no_view_and_an_empty_run_is_not_taken(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, client):
        status, answer = client.ask("/api/look", view="confusion")
        assert (status, answer["error"]["kind"]) == (404, "missing")
        (tmp_path / "begun").mkdir()
        (tmp_path / "begun" / "config.toml").write_text('recipe = "mnist"\n', encoding="utf-8")
        with pytest.raises(RequestError, match="begun has saved nothing yet"):
            server.lab.models.open("begun")


def test_the_last_drawing_is_taken_back_and_none_is_kept_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnbackprop.lab.drawings.MAX_SAMPLES", 1)
    drawings = Drawings(tmp_path / "drawings")
    with pytest.raises(RequestError, match="no drawing to take back"):
        drawings.forget_last()
    with pytest.raises(RequestError, match=r"^The drawing "):
        drawings.add(np.zeros((28, 28), np.uint8), 1)
    drawings.add(drawn_seven(), 7)
    with pytest.raises(RequestError, match="holds 1 drawings, the most that are kept"):
        drawings.add(drawn_seven(), 7)
    drawings.forget_last()
    assert list(drawings.folder.iterdir()) == []
    assert drawings.to_json()["n"] == 0


def test_a_picture_has_a_byte_a_pixel() -> None:
    with pytest.raises(DataError, match="3 pixels and 28 rows of 28: send 784 bytes"):
        Picture(28, 28, b"123").array()


def test_fewer_features_than_components_have_no_variance_beyond_them() -> None:
    x = np.array([[1.0], [2.0], [6.0]])
    scores, variances, total = principal_components(x)
    np.testing.assert_allclose(np.abs(scores), [[2, 0], [1, 0], [3, 0]], atol=1e-12)
    assert variances.tolist() == pytest.approx([14 / 3, 0])
    assert total == pytest.approx(14 / 3)


def test_two_runs_side_by_side_differ_in_what_was_set(tmp_path: Path) -> None:
    for name, lr in (("a", 0.1), ("b", 0.2)):
        with start(
            resolve("weight-height", {"epochs": 3, "lr": lr, "name": name, "runs_dir": str(tmp_path)})
        ) as run:
            run.fit()
    with serving(tmp_path) as (_, client):
        found = client.post("/api/look", view="compare", run="a", other="b")
        assert found["differences"] == [{"setting": "lr", "values": [0.1, 0.2]}]
        assert [len(run["epochs"]) for run in found["runs"]] == [3, 3]
        status, answer = client.ask("/api/look", view="weights", run="a")
        assert (status, answer["error"]["kind"]) == (422, "data")
