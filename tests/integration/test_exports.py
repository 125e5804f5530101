"""`import nnbackprop` offers what the documents name, at no cost until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import backends
import nnbackprop

PROMISED = """
Dense Sigmoid Tanh ReLU LeakyReLU ELU GELU SiLU Softplus Identity Softmax Dropout Flatten Residual
MeanSquaredError SoftmaxCrossEntropy SigmoidBinaryCrossEntropy WeightPenalty
SGD Momentum Nesterov RMSprop Adagrad Adam AdamW clip_by_global_norm clip_by_value
Constant StepDecay Exponential Cosine Warmup OneCycle
He Glorot LeCun Uniform Normal FanOutNormal Zeros
Sequential Trainer TrainedModel Callback Dataset Splits Scaling load split fit_scaling one_hot RngKey
accuracy ClassificationMetrics MultilabelMetrics RegressionMetrics
select available Backend BackendError gradcheck gradcheck_function
NnbackpropError UsageError ShapeError DataError DivergedError RunFolderError
""".split()  # noqa: SIM905 (a table of names)


def test_every_promised_name_is_there_and_no_other() -> None:
    assert sorted(PROMISED) == nnbackprop.__all__


@pytest.mark.parametrize("name", PROMISED)
def test_a_name_is_documented_where_it_lives(name: str) -> None:
    assert getattr(nnbackprop, name).__doc__


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Transformer'"):
        _ = nnbackprop.Transformer


def test_the_names_of_backends_are_there() -> None:
    for name in backends.__all__:
        assert hasattr(backends, name)


def test_importing_the_package_imports_no_array_library_but_numpy() -> None:
    libraries = {"torch", "jax", "cupy", "scipy", "matplotlib", "numba"}
    code = f"import sys, nnbackprop; print(sorted({libraries} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
