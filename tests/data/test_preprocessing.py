"""Preprocessing is fitted to the training part alone, is applied by name, and equals scikit-learn's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars
import pytest

import nnbackprop as nb
from nnbackprop.data.column_roles import choose_roles
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.table import DataOptions, Table, table_of
from nnbackprop.errors import DataError, InputError

RNG = np.random.default_rng(8)
N = 200


def mixed(n: int = N, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    age = np.where(rng.random(n) < 0.1, np.nan, rng.normal(40, 12, n))
    hours = np.where(rng.random(n) < 0.05, np.nan, rng.integers(1, 99, n).astype(float))
    work = rng.choice(["private", "state", "self", None], n, p=[0.6, 0.2, 0.1, 0.1])
    return {
        "age": age,
        "income": rng.lognormal(10, 1, n),
        "work": work,
        "hours": hours,
        "member": rng.random(n) < 0.5,
        "sex": rng.choice(["f", "m"], n),
        "label": rng.choice(["no", "yes"], n),
    }


def fit(table: Table, missing: str = "mean") -> Preprocessing:
    options = DataOptions(missing=missing)  # type: ignore[arg-type]
    return Preprocessing.fit(table, choose_roles(table, options), ("no", "yes"), missing)


@pytest.mark.parametrize("missing", ["mean", "median"])
def test_inputs_are_those_of_scikit_learns_imputer_encoder_and_scaler(missing: str) -> None:
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers, texts = ["age", "income", "hours", "member"], ["work", "sex"]
    train, test = pd.DataFrame(mixed()), pd.DataFrame(mixed(50, seed=2))
    test.loc[3, "work"] = "abroad"
    splits = nb.load(train, missing=missing, split=False)
    scaling = nb.fit_scaling("per-feature", splits.train)
    judge = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(strategy=missing), StandardScaler()), numbers),
            ("t", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
        ]
    ).fit(train.astype({"member": float}))
    names = [*numbers, *(f"{c}={v}" for c in texts for v in sorted(set(train[c].dropna())))]
    names.insert(names.index("sex=f"), "work=missing")
    for frame in (train, test):
        inputs, notes = splits.train.preprocessing.transform(table_of(frame))
        ours = dict(zip(splits.train.feature_names, scaling.apply(inputs, "float64").T, strict=True))
        expected = judge.transform(frame.astype({"member": float}))
        assert np.allclose(np.column_stack([ours[name] for name in names]), expected, rtol=0, atol=1e-6)
        assert np.array_equal(ours["age=missing"], frame["age"].isna())
        assert bool(notes) == (frame is test)
    assert "column 'work' has 'abroad', which training did not have" in notes[0]


def test_values_of_the_test_part_change_nothing_in_the_training_part() -> None:
    columns = mixed()
    before = nb.load(columns, missing="mean", validation_fraction=0.2)
    in_train = set(before.train.inputs[:, 2].tolist())
    outside = [i for i, v in enumerate(columns["income"]) if np.float32(v) not in in_train]
    assert len(outside) == len(before.test) + len(before.validation)
    columns["age"][outside], columns["income"][outside] = 1e6, np.float64(7)
    columns["work"][outside] = "abroad"
    after = nb.load(columns, missing="mean", validation_fraction=0.2)
    assert np.array_equal(after.train.inputs, before.train.inputs)
    assert after.train.preprocessing == before.train.preprocessing
    assert after.test.inputs[:, 3:7].sum() == 0  # no category of `work` is the unseen one
    assert any("'abroad', which training did not have" in note for note in after.test.reader_notes)


def test_it_is_plain_data_and_comes_back_the_same() -> None:
    fitted = fit(table_of(mixed()))
    stored = msgspec.json.encode(msgspec.to_builtins(fitted))
    again = msgspec.convert(msgspec.json.decode(stored), Preprocessing)
    assert again == fitted
    other = table_of(mixed(30, seed=4))
    assert np.array_equal(again.transform(other)[0], fitted.transform(other)[0])


def test_columns_are_found_by_name_in_any_order_beside_others() -> None:
    columns = mixed()
    fitted = fit(table_of(columns))
    shuffled = {"new": RNG.random(N), **{name: columns[name] for name in reversed(columns) if name != "label"}}
    assert np.array_equal(fitted.transform(table_of(shuffled))[0], fitted.transform(table_of(columns))[0])
    with pytest.raises(DataError, match="memory has no column hours, sex, which the network was trained on"):
        fitted.transform(table_of({n: v for n, v in columns.items() if n not in ("hours", "sex")}))


def test_columns_without_names_are_found_by_their_place() -> None:
    frame = polars.DataFrame({"column_1": [1.0, 2], "column_2": ["a", "b"], "column_3": [0.0, 1]})
    nameless = replace(Table.of_frame(frame, "x"), has_names=False)
    fitted = fit(nameless)
    assert fitted.columns == ("column_1", "column_2")
    rows = replace(Table.of_frame(frame.select("column_1", "column_2"), "x"), has_names=False)
    assert fitted.transform(rows)[0].tolist() == [[1, 1, 0], [2, 0, 1]]
    named = replace(rows, columns=("a", "b"), has_names=True)
    assert np.array_equal(fitted.transform(named)[0], fitted.transform(rows)[0])
    with pytest.raises(DataError, match=r"has 1 columns .*the network takes 2: column_1, column_2"):
        fitted.transform(replace(Table.of_frame(frame.select("column_1"), "x"), columns=("z",)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"income": ["x"] * N}, "row 0, column 'income': 'x' is text, and the network was trained on numbers"),
        ({"income": np.full(N, np.inf)}, "row 0, column 'income': the value is infinite"),
        (
            {"income": np.full(N, 1e300)},
            r"row 0, column 'income': 1e\+300 is beyond float32, which ends at 3.4e\+38",
        ),
        ({"work": ["w" * 200] * N}, "'work' holds text of up to 200 characters"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(change: dict[str, Any], words: str) -> None:
    fitted = fit(table_of(mixed()))
    with pytest.raises(DataError, match=words):
        fitted.transform(table_of({**mixed(), **change}))


def test_missing_is_an_error_unless_it_is_said_what_to_do() -> None:
    with pytest.raises(InputError, match=r"row \d+, column 'age': the value is missing, as \d+ of 200 are"):
        fit(table_of(mixed()), "error")
    with pytest.raises(DataError, match="column 'a' has no value in the training part"):
        nb.load({"a": [None, None], "label": ["x", "y"]}, missing="mean", split=False)


def test_a_number_missing_for_the_first_time_becomes_the_training_mean() -> None:
    fitted = fit(table_of({"a": [1.0, 2, 6], "label": ["x", "y", "y"]}))
    assert fitted.feature_names == ("a",)
    assert fitted.transform(table_of({"a": [None, 4.0]}))[0].tolist() == [[3], [4]]


def test_large_values_of_a_small_spread_keep_their_digits() -> None:
    seconds = 1.7e9 + np.arange(1000) / 8
    splits = nb.load({"t": seconds, "label": np.arange(1000) % 2}, split=False)
    scaled = nb.fit_scaling("per-feature", splits.train).apply(splits.train.inputs, "float32")[:, 0]
    assert np.allclose(scaled, (seconds - seconds.mean()) / seconds.std(), atol=1e-5)


def test_indicators_are_not_scaled() -> None:
    train = nb.load(mixed(), missing="mean", split=False).train
    scaling = nb.fit_scaling("per-feature", train)
    one_hot = np.array(["=" in name for name in train.feature_names])
    assert one_hot.sum() == 8
    assert (scaling.scale[one_hot] == 1).all()
    assert (scaling.shift[one_hot] == 0).all()
    assert (scaling.scale[~one_hot] != 1).all()


def test_bytes_stay_bytes() -> None:
    pixels = RNG.integers(0, 256, (N, 5), np.uint8)
    train = nb.load({**{f"p{i}": pixels[:, i] for i in range(5)}, "label": np.arange(N) % 3}, split=False).train
    assert train.inputs.dtype == np.uint8
    assert np.array_equal(train.inputs, pixels)
    assert train.preprocessing.is_plain


def test_missing_text_that_training_did_not_have_is_said() -> None:
    table = table_of({"a": ["x", "y", "x"], "label": ["no", "yes", "no"]})
    inputs, notes = fit(table).transform(table_of({"a": ["z", None, "y"]}))
    assert inputs.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert notes == ("column 'a' has 'z', missing text, which training did not have: 0 in all of its features",)


def test_numbers_and_truth_values_are_found_among_categories() -> None:
    rooms = np.array([1000, 2.5, "A7"], object)
    flags = np.array([True, "false", "unknown"], object)
    fitted = fit(table_of({"room": rooms, "flag": flags, "label": ["no", "yes", "no"]}))
    assert fitted.feature_names == (
        *("room=1000", "room=2.5", "room=A7"),
        *("flag=True", "flag=false", "flag=unknown"),
    )
    inputs, notes = fitted.transform(table_of({"room": [2.5, 1000.0], "flag": [True, False]}))
    assert inputs.tolist() == [[0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0]]
    assert notes == ()
