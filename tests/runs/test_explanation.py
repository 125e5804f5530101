"""What `explain` shows of an image: the gradient of its class by each pixel, and the layers' outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnbackprop.errors import UsageError
from nnbackprop.report import plot_process
from nnbackprop.report.explanation_plot import explanation_plot
from nnbackprop.report.plot_process import PlotData
from nnbackprop.runs.explanation import explain_image, layer_outputs, output_gradient
from nnbackprop.runs.train import Run
from nnbackprop.runs.trained_model import TrainedModel
from tests.support.commands import draw_no_plots, run, said

TRAIN = (
    *("train", "mnist", "--data", "images.npz", "--hidden", "8", "--activation", "tanh", "--dtype", "float64"),
    *("--epochs", "1", "--test-fraction", "0.5", "--batch-size", "10", "--name", "a", "--progress", "off"),
)

pytestmark = pytest.mark.usefixtures("images")


@pytest.fixture
def images(in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 images of 5 x 4 in three classes, each brighter in a place of its own."""
    draw_no_plots(monkeypatch)
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = rng.integers(0, 100, (60, 5, 4))
    pixels[np.arange(60), labels, labels] = 250
    np.savez("images.npz", X=pixels.astype(np.uint8), y=labels)


def trained(*flags: str) -> TrainedModel:
    assert run(*TRAIN, *flags) == 0
    return TrainedModel.open("a")


@pytest.mark.parametrize("label", [0, 1, 2])
def test_saliency_is_the_slope_of_the_output_of_that_class(label: int) -> None:
    """In the units of the raw pixels, by central differences of the last layer's output before softmax."""
    model = trained()
    x = model.data().inputs[:1].astype(float)
    slope = np.empty(x.shape)
    for i in range(x.shape[1]):
        step = np.zeros(x.shape)
        step[0, i] = 0.01
        above, below = (layer_outputs(model, x + sign * step)[-1][1][label] for sign in (1, -1))
        slope[0, i] = (above - below) / 0.02
    assert np.abs(slope).max() > 1e-4
    np.testing.assert_allclose(output_gradient(model, x, label), slope, rtol=1e-5, atol=1e-9)


def test_saliency_of_a_single_output_is_negative_for_class_0() -> None:
    pixels, labels = (np.load("images.npz")[name] for name in "Xy")
    np.savez("images.npz", X=pixels[labels < 2], y=labels[labels < 2])
    model = trained("--loss", "binary-cross-entropy", "--n-outputs", "1")
    x = model.data().inputs[:1]
    assert np.array_equal(output_gradient(model, x, 0), -output_gradient(model, x, 1))


def test_layers_that_change_nothing_are_left_out_and_the_last_is_the_logits() -> None:
    model = trained()
    explanation = explain_image(model, "3")
    names = [name for name, _ in explanation.activations]
    assert names == ["dense1", "tanh1", "dense2"]  # the recipe has dropout, which evaluation leaves out
    logits = explanation.activations[-1][1]
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), explanation.probabilities, rtol=1e-12)
    assert explanation.predicted == logits.argmax()
    assert explanation.label == model.data().targets[3]
    assert explanation.image.shape == explanation.saliency.shape == (5, 4)


def test_the_picture_has_the_image_its_classes_and_a_row_for_each_layer() -> None:
    explanation = explain_image(trained(), "0")
    figure = explanation_plot(explanation)
    image, saliency, bars, *layers = figure.get_axes()
    low, high = (float(f(explanation.image)) for f in (np.min, np.max))
    np.testing.assert_allclose(image.images[0].get_array(), (explanation.image - low) / (high - low))
    assert np.array_equal(saliency.images[0].get_array(), explanation.saliency)
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(explanation.probabilities)
    assert [axes.get_title(loc="left") for axes in layers] == ["dense1  8", "tanh1  8", "dense2  3"]
    assert np.array_equal(layers[1].images[0].get_array()[0], explanation.activations[1][1])


def test_the_command_explains_a_file_or_a_sample(capsys: pytest.CaptureFixture[str]) -> None:
    trained()
    Image.fromarray(np.eye(5, 4, dtype=np.uint8) * 250).save("a.png")
    for image in ("a.png", "7"):
        picture = Path("runs/a/plots/explanation.png")
        picture.unlink(missing_ok=True)
        capsys.readouterr()
        assert run("explain", "a", image) == 0
        assert f"Picture: {picture}" in said(capsys)
        assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_run_ends_with_the_explanation_of_its_most_confident_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that `explain` gives of that sample, as the process that draws it gets it."""
    sent: list[bytes] = []

    def send(run: Run) -> list[str]:
        sent.append(PlotData.of_run(run).to_bytes())
        return []

    monkeypatch.setattr(plot_process, "draw_run", send)
    model = trained("--lr", "1e-4")
    data = model.data()
    probabilities = model.predict_proba(data.inputs)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != data.targets)
    assert len(wrong) > 1
    expected = explain_image(model, str(wrong[probabilities[wrong].max(axis=1).argmax()]))
    explanation = PlotData.from_bytes(sent[0]).explanation
    assert explanation is not None
    assert explanation.name == expected.name
    assert (explanation.predicted, explanation.label) == (expected.predicted, expected.label)
    assert tuple(explanation.classes) == expected.classes
    for name in ("image", "saliency", "probabilities"):
        np.testing.assert_allclose(getattr(explanation, name), getattr(expected, name), rtol=1e-12)
    assert [name for name, _ in explanation.activations] == [name for name, _ in expected.activations]
    for (_, found), (_, wanted) in zip(explanation.activations, expected.activations, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_sample_beyond_the_last_and_a_network_of_tables_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Sample 30 was asked for, and .* has 30 samples: .* from 0 to 29"):
        explain_image(trained(), "30")
    assert run("train", "iris", "--epochs", "1", "--name", "b", "--progress", "off") == 0
    with pytest.raises(UsageError, match=r"was trained on iris.*: train on images"):
        explain_image(TrainedModel.open("b"), "0")
