"""Step through: each number by plain NumPy, and by the trainer; planted mistakes are named by the check."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from nnbackprop import SGD, Adam, Dense, MeanSquaredError, Normal, Sequential, Sigmoid, Trainer
from nnbackprop.data.catalog import load
from nnbackprop.lab.breaking import PLANTS, break_
from nnbackprop.lab.messages import Break, Check, Step, encode
from nnbackprop.lab.small_networks import ARCHITECTURES, TAKES_LOGITS, digits_4x4
from nnbackprop.lab.stepping import step

W1, W2 = [[0.05, -0.03], [0.02, 0.04]], [[0.7], [-0.6]]  # no sigmoid saturates
PARAMS = {"dense1.W": W1, "dense1.b": [0.1, -0.2], "dense2.W": W2, "dense2.b": [0.05]}


def line(answer: dict[str, Any], phase: str, layer: str) -> dict[str, Any]:
    (found,) = [row for row in answer["steps"] if (row["phase"], row["layer"]) == (phase, layer)]
    return found


def s(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def test_every_line_has_the_numbers_of_plain_numpy() -> None:
    answer = step(Step("2-2-1", samples=(0, 1, 2), params=PARAMS, lr=0.5))
    x, t = np.array([[-2.0, -1.0], [25.0, 6.0], [17.0, 4.0]]), np.array([[1.0], [0.0], [0.0]])
    z1 = x @ np.array(W1) + [0.1, -0.2]
    a1 = s(z1)
    z2 = a1 @ np.array(W2) + 0.05
    y = s(z2)
    dy = 2 * (y - t) / 3
    dz2 = dy * y * (1 - y)
    da1 = dz2 @ np.array(W2).T
    dz1 = da1 * a1 * (1 - a1)
    expected = {
        ("forward", "dense1", "z"): z1,
        ("forward", "sigmoid1", "y"): a1,
        ("forward", "dense2", "z"): z2,
        ("forward", "sigmoid2", "y"): y,
        ("loss", "loss", "J"): np.mean((y - t) ** 2),
        ("loss", "loss", "dy"): dy,
        ("backward", "sigmoid2", "dx"): dz2,
        ("backward", "dense2", "dW"): a1.T @ dz2,
        ("backward", "dense2", "db"): dz2.sum(axis=0),
        ("backward", "dense2", "dx"): da1,
        ("backward", "sigmoid1", "dx"): dz1,
        ("backward", "dense1", "dW"): x.T @ dz1,
        ("backward", "dense1", "db"): dz1.sum(axis=0),
        ("backward", "dense1", "dx"): dz1 @ np.array(W1).T,
        ("update", "dense1", "W"): W1 - 0.5 * (x.T @ dz1),
        ("update", "dense2", "b"): 0.05 - 0.5 * dz2.sum(axis=0),
    }
    for (phase, layer, name), value in expected.items():
        found = line(answer, phase, layer)["outputs"][name]
        np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-300)
    assert len(answer["steps"]) == 11


@pytest.mark.parametrize(("name", "optimizer"), [("sgd", SGD()), ("adam", Adam())])
def test_steps_in_a_row_are_those_of_the_trainer_to_the_bit(name: str, optimizer: Any) -> None:
    train = load("weight-height", split=False).train
    network = Sequential(Dense(2, Normal(1.0)), Sigmoid(), Dense(1, Normal(1.0)), Sigmoid())
    trainer = Trainer(
        network, MeanSquaredError("mean"), optimizer, 0.1, batch_size=1, epochs=2, shuffle=False, dtype="float64"
    )
    trainer.fit(train)
    params = state = None
    for t in range(1, 9):
        request = Step(
            "2-2-1", samples=((t - 1) % 4,), params=params, optimizer=name, optimizer_state=state, t=t, lr=0.1
        )
        after = step(request)["next"]
        params, state = after["params"], after["optimizer_state"]
    for layer_name, _, branch in network.named_layers(trainer.host_params()):
        for key, array in branch.items():
            np.testing.assert_array_equal(params[f"{layer_name}.{key}"], array)


def test_an_edited_weight_changes_all_that_follows_and_nothing_before() -> None:
    before = step(Step("2-2-1", params=PARAMS))
    after = step(Step("2-2-1", params=PARAMS | {"dense2.W": [[0.8], [-0.6]]}))
    assert line(before, "forward", "sigmoid1")["outputs"]["y"].tolist() == line(after, "forward", "sigmoid1")[
        "outputs"]["y"].tolist()  # fmt: skip
    h1 = line(before, "forward", "sigmoid1")["outputs"]["y"][0, 0]
    difference = (
        line(after, "forward", "dense2")["outputs"]["z"] - line(before, "forward", "dense2")["outputs"]["z"]
    )
    np.testing.assert_allclose(difference, [[0.1 * h1]], rtol=1e-12)
    assert before["loss_value"] != after["loss_value"]


def test_lines_name_the_equation_the_formula_and_the_code() -> None:
    answer = step(Step("2-2-1"))
    dense, back, update = (line(answer, phase, "dense1") for phase in ("forward", "backward", "update"))
    assert (dense["formula"], dense["equation"]) == ("z = x W + b", "D1, D10, D14")
    assert "dW = x^T dz" in back["formula"]
    assert "D9" in update["equation"].split(", ")
    assert line(answer, "forward", "sigmoid1")["equation"] == "D2"
    for row in answer["steps"]:
        source = row["source"]
        with open(source["file"], encoding="utf-8") as file:
            there = file.readlines()[source["line"] - 1].strip()
        assert source["code"].strip().startswith(there)


@pytest.mark.parametrize("network", ARCHITECTURES)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_the_central_difference_of_a_parameter_is_its_gradient(network: str, activation: str) -> None:
    for tensor, index in (("dense1.W", (1, 0)), ("dense1.b", (1,)), ("dense2.W", (0, 0))):
        request = Step(network, activation=activation, samples=(0,), check=Check(tensor, index))
        check = step(request)["check"]
        assert check["passed"]
        assert check["relative_error"] < 1e-7


def test_a_planted_mistake_is_seen_by_the_check_and_its_code_is_shown() -> None:
    request = Step(
        "2-2-1", params=PARAMS, mistake="activation-derivative-missing", check=Check("dense1.W", (0, 0))
    )
    answer = step(request)
    assert not answer["check"]["passed"]
    assert line(answer, "backward", "sigmoid1")["source"]["function"] == "without_derivative"
    right = step(Step("2-2-1", params=PARAMS))
    assert answer["check"]["numerical"] == pytest.approx(right["gradients"]["dense1.W"][0, 0], rel=1e-7)


PLANTED = [(n, m) for n in ARCHITECTURES for m in PLANTS if (n, m) != ("2-2-1", "softmax-diagonal")]


@pytest.mark.parametrize(("network", "mistake"), PLANTED)
def test_every_planted_mistake_is_named_by_the_gradient_check(network: str, mistake: str) -> None:
    loss = (PLANTS[mistake].losses or [ARCHITECTURES[network].loss])[0]
    output = {"loss": loss, "output_activation": "identity" if loss in TAKES_LOGITS else "sigmoid"}
    found = break_(Break(network, mistake=mistake, activation="tanh", **output))
    assert [m["id"] for m in found["report"]["mistakes"]] == [mistake]


def test_digits_are_means_of_seven_by_seven_pixels() -> None:
    test = load("mnist").test
    assert test is not None
    digits = digits_4x4()
    first = int(np.flatnonzero(test.targets == 0)[0])
    image = test.inputs[first].reshape(28, 28)
    assert digits.inputs[0, 5] == pytest.approx(image[7:14, 7:14].mean() / 255, rel=1e-12)
    assert np.bincount(digits.labels).tolist() == [10] * 10


def test_numbers_keep_all_their_digits_in_json() -> None:
    answer = step(Step("2-2-1"))
    again = json.loads(encode(answer))
    assert again["gradients"]["dense1.W"] == answer["gradients"]["dense1.W"].tolist()
