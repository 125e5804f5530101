"""Data given to a trained network are prepared as its training data were, however they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb
from nnbackprop.data.prepared import as_trained
from nnbackprop.errors import DataError

MIDDLE = 5_600_000.0  # metres north of the equator; float32 tells 0.5 m apart there
CLASSES = ("down", "up")


def area(n: int, low: float, high: float, seed: int = 0) -> tuple[dict[str, Any], np.ndarray]:
    """Points of a map between two northings, and whether each lies above the middle."""
    rng = np.random.default_rng(seed)
    north = MIDDLE + rng.uniform(low, high, n)
    return {"north": north, "noise": rng.normal(size=n)}, np.where(north > MIDDLE, "up", "down")


TRAIN, TRAIN_LABELS = area(200, -300, 300)
TEST, TEST_LABELS = area(100, 0, 300, 1)  # all of them up, and their own mean is 150 m further north


def fitted(data: nb.Dataset, validation: nb.Dataset | None = None) -> nb.Trainer:
    trainer = nb.Trainer(
        nb.Sequential(nb.Dense(8), nb.ReLU(), nb.Dense(2)),
        *(nb.SoftmaxCrossEntropy(), nb.Adam()),
        lr=0.02,
        epochs=20,
        scaling=nb.fit_scaling("per-feature", data),
    )
    trainer.fit(data, validation)
    return trainer


def rows(frame: dict[str, Any]) -> np.ndarray:
    return np.column_stack(list(frame.values()))


def test_offsets_of_a_data_sets_own_are_replaced_by_those_of_training(tmp_path: Path) -> None:
    trained = nb.Dataset(TRAIN, TRAIN_LABELS)
    test = nb.Dataset(TEST, TEST_LABELS, CLASSES)
    trainer = fitted(trained, test)
    truth = np.mean(np.array(CLASSES)[trainer.predict(TEST)] == TEST_LABELS)
    assert truth > 0.9
    assert trainer.evaluate(test).accuracy == truth
    assert trainer.history[-1].validation.accuracy == truth
    nb.save(trainer, tmp_path / "area.nb")
    assert nb.open(tmp_path / "area.nb").evaluate(test).accuracy == truth
    prepared = as_trained(test, trained.preprocessing)
    expected = rows(TEST) - np.array([np.mean(TRAIN["north"]), 0])
    np.testing.assert_allclose(prepared.inputs, expected, rtol=0, atol=2e-5)
    assert as_trained(prepared, trained.preprocessing) is prepared


def test_a_second_load_is_evaluated_as_the_frame_itself() -> None:
    train = nb.load({**TRAIN, "where": TRAIN_LABELS}, split=False).train
    trainer = fitted(train)
    frame = {**TEST, "where": np.where(np.arange(100) < 2, "down", TEST_LABELS)}
    assert trainer.evaluate(nb.load(frame, split=False).train).accuracy == trainer.evaluate(frame).accuracy


def test_a_network_of_arrays_takes_a_frames_raw_numbers() -> None:
    data = nb.Dataset(TEST, TEST_LABELS, CLASSES)
    np.testing.assert_allclose(as_trained(data, None).inputs, rows(TEST), rtol=0, atol=2e-5)
    trainer = fitted(nb.Dataset(rows(TRAIN), TRAIN_LABELS))
    by_arrays = trainer.evaluate(nb.Dataset(rows(TEST), TEST_LABELS, CLASSES))
    assert trainer.evaluate(data).accuracy == by_arrays.accuracy


def test_other_columns_are_refused() -> None:
    trained = nb.Dataset(TRAIN, TRAIN_LABELS).preprocessing
    other = nb.Dataset({"noise": TEST["noise"], "north": TEST["north"]}, TEST_LABELS, CLASSES)
    with pytest.raises(
        DataError, match="has the features noise, north and the network was trained on north, noise"
    ):
        as_trained(other, trained)


def table(seed: int, holes: bool = True, colours: str = "rb") -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    size = rng.normal(10 * seed, 1, 40)
    size[::4] = np.nan if holes else 1.0
    return {
        "size": size,
        "colour": np.array(list(colours))[np.arange(40) % len(colours)],
        "y": rng.normal(size=40),
    }


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (table(2), "column 'size' was prepared by itself, and its replacements of missing values differ"),
        (table(2, holes=False), "column 'size' was prepared by itself, and its indicators of missing values"),
        (table(1, colours="rg"), "column 'colour' was prepared by itself, and its categories differ"),
    ],
)
def test_what_was_fitted_to_other_data_and_cannot_be_undone_is_refused(other: dict[str, Any], words: str) -> None:
    train = nb.load(table(1), target="y", missing="mean", split=False).train
    data = nb.load(other, target="y", missing="mean", split=False).train
    with pytest.raises(DataError, match=words):
        as_trained(data, train.preprocessing)


def test_a_part_without_a_missing_value_needs_no_replacement() -> None:
    train = nb.load(table(1, holes=False), target="y", missing="mean", split=False).train
    data = nb.load(table(2, holes=False), target="y", split=False).train
    assert as_trained(data, train.preprocessing) is data


def test_large_values_that_were_rounded_are_refused() -> None:
    """A single row has no spread, and so no offset: float32 would be 0.5 m wide."""
    trained = nb.Dataset(TRAIN, TRAIN_LABELS).preprocessing
    row = nb.Dataset({"north": [MIDDLE + 0.3], "noise": [0.0]}, ["up"], CLASSES)
    with pytest.raises(DataError, match="column 'north' was rounded to float32"):
        as_trained(row, trained)


def test_raw_arrays_are_refused_where_columns_have_an_offset(tmp_path: Path) -> None:
    data = nb.Dataset(TRAIN, TRAIN_LABELS)
    trainer = fitted(data)
    nb.save(trainer, tmp_path / "area.nb")
    for model in (trainer, nb.open(tmp_path / "area.nb")):
        for call in (model.predict, model.predict_proba):
            with pytest.raises(DataError, match=r"column 'north' has values about 56.*: pass the data frame"):
                call(rows(TEST))
        with pytest.raises(DataError, match="column 'north' has values about"):
            model.evaluate(nb.Dataset(rows(TEST), TEST_LABELS, CLASSES))
        assert np.array_equal(model.predict(data.inputs), model.predict(TRAIN))
        assert np.array_equal(model.predict(data.inputs.tolist()), model.predict(TRAIN))


def test_categories_that_training_did_not_have_are_warned_of(tmp_path: Path) -> None:
    room = np.array(["007", "12", "A7"])[np.arange(60) % 3]
    table = {"room": room, "x": np.arange(60.0), "kind": np.where(room == "007", "agent", "guest")}
    trainer = fitted(nb.load(table, target="kind", split=False).train)
    nb.save(trainer, tmp_path / "rooms.nb")
    unseen = {"room": ["nowhere"], "x": [0.0]}
    numbers = {"room": [7, 12], "x": [0.0, 1.0], "kind": ["agent", "guest"]}  # what pandas makes of 007
    for model in (trainer, nb.open(tmp_path / "rooms.nb")):
        for call in (model.predict, model.predict_proba):
            with pytest.warns(
                UserWarning, match="column 'room' has 'nowhere', which training did not have"
            ) as found:
                call(unseen)
            assert len(found) == 1
            with pytest.warns(UserWarning, match=r"'7', .* no leading zeros, as '007' had in training: read the"):
                call(numbers)
        with pytest.warns(UserWarning, match="column 'room' has '7', which training did not have") as found:
            model.evaluate(numbers)
        assert len(found) == 1


def test_a_data_set_of_a_frame_with_missing_values_is_sent_to_load() -> None:
    with pytest.raises(DataError, match=r"missing='mean' or missing='median'.* options of nb\.load\(frame"):
        nb.Dataset({"a": [1.0, None]}, ["x", "y"])
