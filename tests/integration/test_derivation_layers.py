"""docs/derivation-layers.md: its numbers are the package's and PyTorch's, its sums add up, its formulae hold."""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nnbackprop import BatchNorm, Conv2D, Flatten, LayerNorm, MaxPool2D, SpatialDropout2D
from nnbackprop.nn.layers.pooling import AveragePool2D
from nnbackprop.nn.rng import RngKey
from tests.integration.test_derivation import BLOCK, PAGES, ROOT
from tests.support.gradients import AUTODIFF, distance

ENGLISH, CHINESE = (pages[1] for pages in PAGES.values())
GENERATED = re.compile(r"<!-- figures: derivation-(\S+) -->\n(.*?)<!-- end of figures -->", re.DOTALL)
MATRIX = re.compile(r"\\begin\{pmatrix\} (.*) \\end\{pmatrix\}")
ROUNDED = 5.1e-5
"""Numbers stand with four places."""

Numbers = dict[str, Any]


def examples(page: Path) -> dict[str, list[str]]:
    """The formulae of each worked example."""
    return {name: BLOCK.findall(text) for name, text in GENERATED.findall(page.read_text("utf-8"))}


def read(tex: str) -> Any:
    """A number or a matrix, as it is printed."""
    matrix = MATRIX.fullmatch(tex)
    if not matrix:
        return float(tex)
    return np.array([[float(x) for x in line.split("&")] for line in matrix[1].split("\\\\")])


def numbers(*formulae: str) -> Numbers:
    """What stands in lines `a = ..., b = ...`, by letter."""
    parts = (part.split(" = ") for line in formulae for part in line.split(", \\qquad "))
    return {name: read(value) for name, value in parts}


def is_sum(tex: str) -> bool:
    return "aligned" in tex


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/derivation_layers.py."""
    sys.path.insert(0, str(ROOT / "docs"))
    return importlib.import_module("derivation_layers")


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_examples_are_those_of_the_packages_layers(page: Path, script: ModuleType) -> None:
    made = {name.removeprefix("derivation-"): BLOCK.findall(text) for name, text in script.blocks().items()}
    assert examples(page) == made


def test_every_sum_adds_up_and_is_the_entry_that_it_is_of() -> None:
    found = 0
    for name, formulae in examples(ENGLISH).items():
        shown = numbers(*(tex for tex in formulae if not is_sum(tex)))
        if name == "conv-stride":  # of the same image, kernel and error
            shown = {**numbers(*examples(ENGLISH)["conv"][:1]), **numbers(examples(ENGLISH)["conv"][3]), **shown}
        for tex in filter(is_sum, formulae):
            line = re.sub(r"\\(begin|end)\{aligned\}|\\\\|&\\quad|&|\n", "", tex).strip()
            entry, letters, terms, value = line.split("= ")
            assert eval(terms.replace("\\cdot", "*")) == float(value)
            of_entry, of_letters = (
                re.sub(r"(\w+)_\{(\d)(\d)\}", r"\1[\2, \3]", part).replace("\\,", "*") for part in (entry, letters)
            )
            assert eval(of_letters, {}, shown) == eval(of_entry, {}, shown) == float(value), tex
            found += 1
    assert found == 5


# What PyTorch says of the numbers that stand on the page.


def judged(forward: Callable[..., Any], dy: Any, **inputs: Any) -> Numbers:
    """y, and the gradient of every input by its name, of PyTorch's automatic differentiation."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    tensors = {
        name: torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True) for name, a in inputs.items()
    }
    y = forward(torch, **tensors)
    y.backward(torch.tensor(np.broadcast_to(dy, tuple(y.shape)).copy(), dtype=torch.float64))
    return {"y": y.detach().numpy(), **{name: t.grad.numpy() for name, t in tensors.items()}}


def image(torch: Any, function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> Any:
    return function(x[None, None], *args, **options)[0, 0]


def assert_shown(shown: Any, want: Any) -> None:
    np.testing.assert_allclose(np.ravel(shown), np.ravel(want), rtol=0, atol=ROUNDED)


@pytest.mark.parametrize(("name", "options"), [("conv", {}), ("conv-stride", {"stride": 2, "padding": 1})])
def test_convolutions_numbers_are_pytorchs(name: str, options: dict[str, int]) -> None:
    plain = [tex for tex in examples(ENGLISH)["conv"] if not is_sum(tex)]
    given = numbers(*plain)
    shown = {**given, **numbers(*(tex for tex in examples(ENGLISH)[name] if not is_sum(tex)))}

    def forward(torch: Any, x: Any, w: Any, b: Any) -> Any:
        return image(torch, torch.nn.functional.conv2d, x, w[None, None], b[None], **options)

    want = judged(forward, given["dz"], x=given["x"], w=given["w"], b=given["b"])
    for letter, value in {"z": want["y"], "dw": want["w"], "db": want["b"], "dx": want["x"]}.items():
        assert_shown(shown[letter], value)
    e, turned = shown["e"], given["w'"]
    assert np.array_equal(turned, given["w"][::-1, ::-1])
    laid = [[np.sum(e[u : u + 3, v : v + 3] * turned) for v in range(4)] for u in range(4)]
    assert np.array_equal(laid, shown["dx"])
    if name == "conv":
        assert np.array_equal(given["C"] @ given["w"].ravel() + given["b"], given["z"].ravel())
        assert np.array_equal(given["C"].T @ given["dz"].ravel(), given["dw"].ravel())


def test_poolings_numbers_are_pytorchs() -> None:
    whole, errors, overlapping = map(numbers, examples(ENGLISH)["max-pool"])
    for shown, size, stride in (({**whole, **errors}, 2, 2), ({**overlapping, "dy": errors["dy"]}, 2, 1)):
        want = judged(
            lambda torch, x, size=size, stride=stride: image(
                torch, torch.nn.functional.max_pool2d, x, size, stride
            ),
            shown["dy"],
            x=shown["x"],
        )
        assert_shown(shown["y"], want["y"])
        assert_shown(shown["dx"], want["x"])
    means, of_all = map(numbers, examples(ENGLISH)["average-pool"])
    for shown, size in ((means, 2), (of_all, 4)):
        want = judged(
            lambda torch, x, size=size: image(torch, torch.nn.functional.avg_pool2d, x, size),
            shown["dy"],
            x=whole["x"],
        )
        assert_shown(shown["y"], want["y"])
        assert_shown(shown["dx"], want["x"])
    for shown in ({**whole, **errors}, means, of_all):
        assert np.sum(shown["dx"]) == np.sum(shown["dy"])  # as the text says


@pytest.mark.parametrize("name", ["batch-norm", "batch-norm-channels", "layer-norm"])
def test_normalizations_numbers_are_pytorchs(name: str) -> None:
    shown = numbers(*examples(ENGLISH)[name])
    x, eps = shown["X"], shown["\\varepsilon"]
    axis = 1 if name == "layer-norm" else 0
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    k = x.shape[1]
    running = torch.zeros(k, dtype=torch.float64), torch.ones(k, dtype=torch.float64)

    def forward(torch: Any, x: Any, gamma: Any, beta: Any) -> Any:
        if axis:
            return torch.nn.functional.layer_norm(x, (k,), gamma[0], beta[0], eps)
        return torch.nn.functional.batch_norm(x, *running, gamma[0], beta[0], True, 0.1, eps)

    want = judged(forward, shown["dY"], x=x, gamma=shown["\\gamma"], beta=shown["\\beta"])
    for letter, value in {"Y": "y", "d\\gamma": "gamma", "d\\beta": "beta", "dX": "x"}.items():
        assert_shown(shown[letter], want[value])
    assert_shown(shown["m"], x.mean(axis=axis))
    assert_shown(shown["v"], x.var(axis=axis))
    assert_shown(shown["\\hat{X}"], (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps))
    if name == "batch-norm":
        assert_shown(shown["\\bar{m}"], running[0])
        assert_shown(shown["\\bar{v}"], running[1])
    np.testing.assert_allclose(shown["dX"].sum(axis=axis), 0, atol=3 * ROUNDED)  # as the text says


def test_the_other_layers_numbers_are_pytorchs() -> None:
    shown = numbers(*examples(ENGLISH)["maxout"])
    pieces = shown["z"].reshape(2, 2)  # pieces, units
    assert np.array_equal(shown["x"] @ shown["W"] + shown["b"], shown["z"])
    assert np.array_equal(pieces.max(axis=0), shown["y"][0])
    winners = pieces.argmax(axis=0)  # the first of equal ones; PyTorch's amax would share
    assert np.array_equal(np.where(np.arange(2)[:, None] == winners, shown["dy"], 0), shown["dz"].reshape(2, 2))
    want = judged(lambda torch, x, W: x @ W, shown["dz"], x=shown["x"], W=shown["W"])
    assert_shown(shown["dW"], want["W"])
    assert_shown(shown["dx"], want["x"])

    shown = numbers(*examples(ENGLISH)["leaky-relu"])
    want = judged(lambda torch, x: torch.nn.functional.leaky_relu(x, shown["a"]), shown["dy"], x=shown["x"])
    assert_shown(shown["y"], want["y"])
    assert_shown(shown["dx"], want["x"])

    shown = numbers(*examples(ENGLISH)["prelu"])
    want = judged(lambda torch, x, a: torch.nn.functional.prelu(x, a[0]), shown["dY"], x=shown["X"], a=shown["a"])
    for letter, value in {"Y": "y", "dX": "x", "da": "a"}.items():
        assert_shown(shown[letter], want[value])

    shown = numbers(*examples(ENGLISH)["smooth"])
    for name, function in SMOOTH.items():
        want = judged(function, shown["dy"], x=shown["x"])
        assert_shown(shown[f"y_\\text{{{name}}}"], want["y"])
        assert_shown(shown[f"dx_\\text{{{name}}}"], want["x"])

    shown = numbers(*examples(ENGLISH)["residual"])
    want = judged(
        lambda torch, x, W, b: x + torch.relu(x @ W + b), shown["dy"], x=shown["x"], W=shown["W"], b=shown["b"]
    )
    for letter, value in {"y": "y", "dx": "x", "dW": "W", "db": "b"}.items():
        assert_shown(shown[letter], want[value])
    assert np.array_equal(shown["x"] + shown["f(x)"], shown["y"])


def test_dropout_of_channels_numbers_are_pytorchs() -> None:
    shown = numbers(*examples(ENGLISH)["channel-dropout"])
    q, m = shown["q"], shown["m"]
    assert set(np.unique(m)) == {0, 1 / (1 - q)}
    for letters in (("X", "Y"), ("dY", "dX")):  # a place is 0 or not with all places of its image and channel
        before, after = (shown[letter].reshape(2, 2, 3) for letter in letters)
        assert np.array_equal(after != 0, np.broadcast_to(m[:, None] != 0, before.shape))

    def forward(torch: Any, X: Any) -> Any:
        """(images, channels, rows, columns) in PyTorch; its own dropout gives the values that masks have."""
        ours = torch.nn.functional.dropout2d(torch.ones(64, 3, 1, 2), q)
        assert set(ours.unique().tolist()) == {0, 1 / (1 - q)}
        assert bool((ours[..., 0] == ours[..., 1]).all())
        images = X.reshape(2, 1, 2, 3).permute(0, 3, 1, 2) * torch.tensor(m)[:, :, None, None]
        return images.permute(0, 2, 3, 1).reshape(4, 3)

    want = judged(forward, shown["dY"], X=shown["X"])
    assert_shown(shown["Y"], want["y"])
    assert_shown(shown["dX"], want["X"])


def test_flattens_numbers_are_pytorchs() -> None:
    shown = numbers(*examples(ENGLISH)["flatten"])
    x, w, w_first = np.stack([shown["x_{uv0}"], shown["x_{uv1}"]], axis=2), shown["w"][0], shown["w'"][0]
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    first = torch.flatten(torch.tensor(x).permute(2, 0, 1))
    assert np.array_equal(first.numpy(), shown["y'"][0])
    assert np.array_equal(torch.flatten(torch.tensor(w.reshape(x.shape)).permute(2, 0, 1)).numpy(), w_first)
    of_first = judged(lambda torch, x, w: torch.flatten(x.permute(2, 0, 1)) @ w, shown["dz"], x=x, w=w_first)
    of_last = judged(lambda torch, x, w: torch.flatten(x) @ w, shown["dz"], x=x, w=w)
    assert of_first["y"] == of_last["y"] == shown["z"] == shown["\\sum_j y'_j w'_j"]
    assert shown["y"][0] @ w_first == shown["\\sum_j y_j w'_j"] != shown["z"]
    assert np.array_equal(of_last["w"] / shown["dz"], shown["y"][0])
    assert np.array_equal(of_first["w"] / shown["dz"], shown["y'"][0])  # each weight's gradient at its new place
    assert np.array_equal(shown["dz"] * w, shown["dy"][0])
    for want in (of_first["x"], of_last["x"]):
        assert np.array_equal(np.stack([shown["dx_{uv0}"], shown["dx_{uv1}"]], axis=2), want)


SMOOTH: dict[str, Callable[..., Any]] = {
    "ELU": lambda torch, x: torch.nn.functional.elu(x),
    "softplus": lambda torch, x: torch.nn.functional.softplus(x),
    "SiLU": lambda torch, x: torch.nn.functional.silu(x),
    "GELU": lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
}


# The formulae, in loops as they stand, against the layers.


def places(length: int, k: int, t: int, before: int, after: int) -> int:
    """D36."""
    return (length + before + after - k) // t + 1


@pytest.mark.parametrize(("size", "stride", "padding"), [((3, 2), 1, 0), ((3, 3), 2, 1), ((2, 4), 3, 1)])
def test_the_formulae_of_convolution(size: Any, stride: int, padding: int, script: ModuleType) -> None:
    """D36, D37, D39 and D40, number by number."""
    rng, p, (kh, kw) = np.random.default_rng(0), padding, size
    x, w, b = rng.standard_normal((7, 6, 2)), rng.standard_normal((*size, 2, 3)), rng.standard_normal(3)
    H, W = (places(length, k, stride, p, p) for length, k in zip(x.shape, size, strict=False))
    dz = rng.standard_normal((H, W, 3))
    found = script.through(Conv2D(3, size, stride, padding), {"W": w.reshape(-1, 3), "b": b}, x[None], dz[None])
    padded = np.pad(x, ((p, p), (p, p), (0, 0)))
    z, dw = np.zeros_like(dz) + b, np.zeros_like(w)
    for r, s, i, j in itertools.product(range(H), range(W), range(kh), range(kw)):
        under = padded[stride * r + i, stride * s + j]
        z[r, s] += under @ w[i, j]
        dw[i, j] += np.outer(under, dz[r, s])
    e = np.zeros((padded.shape[0] + kh - 1, padded.shape[1] + kw - 1, 3))
    for r, s in itertools.product(range(H), range(W)):
        e[stride * r + kh - 1, stride * s + kw - 1] = dz[r, s]
    dx = np.zeros_like(padded)
    for u, v, i, j in itertools.product(*map(range, padded.shape[:2]), range(kh), range(kw)):
        dx[u, v] += w[kh - 1 - i, kw - 1 - j] @ e[u + i, v + j]
    cropped = dx[p : p + 7, p : p + 6]
    for ours, want in ((found.y[0], z), (found.grads["W"], dw.reshape(-1, 3)), (found.dx[0], cropped)):
        assert distance(ours, want) <= AUTODIFF


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (2, 3)])
def test_the_formulae_of_pooling(size: int, stride: int, script: ModuleType) -> None:
    """D41 to D44, number by number, with ties."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 4, (6, 7, 2)).astype(float)
    H, W = (places(length, size, stride, 0, 0) for length in x.shape[:2])
    dy = rng.standard_normal((H, W, 2))
    largest, of_largest, of_mean = np.zeros((H, W, 2)), np.zeros_like(x), np.zeros_like(x)
    for r, s, c in itertools.product(range(H), range(W), range(2)):
        window = x[stride * r : stride * r + size, stride * s : stride * s + size, c]
        largest[r, s, c] = window.max()
        i, j = divmod(int(window.argmax()), size)  # the first of equal ones, row by row
        of_largest[stride * r + i, stride * s + j, c] += dy[r, s, c]
        of_mean[stride * r : stride * r + size, stride * s : stride * s + size, c] += dy[r, s, c] / size**2
    found = script.through(MaxPool2D(size, stride), {}, x[None], dy[None])
    assert np.array_equal(found.y[0], largest)
    assert distance(found.dx[0], of_largest) <= AUTODIFF
    assert distance(script.through(AveragePool2D(size, stride), {}, x[None], dy[None]).dx[0], of_mean) <= AUTODIFF


def test_the_formulae_of_normalization(script: ModuleType) -> None:
    """The three ways of a batch's x in D48, one by one; D50 in evaluation; D52."""
    rng, n, k, eps = np.random.default_rng(2), 6, 4, 1e-3
    x, dy, gamma = rng.standard_normal((n, k)), rng.standard_normal((n, k)), rng.standard_normal(k)
    params = {"gamma": gamma, "beta": np.zeros(k), "mean": np.full(k, 0.5), "var": np.full(k, 2.0)}
    layer = BatchNorm(eps=eps)
    sigma = np.sqrt(x.var(axis=0) + eps)
    xh, dxh = (x - x.mean(axis=0)) / sigma, gamma * dy
    dv = -(dxh * xh).sum(axis=0) / (2 * sigma**2)
    dm = -dxh.sum(axis=0) / sigma
    three_ways = dxh / sigma + dm / n + dv * 2 * sigma * xh / n
    assert distance(script.through(layer, params, x, dy).dx, three_ways) <= AUTODIFF
    xp = script.XP
    _, cache = layer.forward(xp, params, x, None)
    dx, _ = layer.backward(xp, params, cache, dy, True)
    assert dx is not None
    assert distance(dx, gamma / np.sqrt(2 + eps) * dy) <= AUTODIFF
    sigma = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xh = (x - x.mean(axis=1, keepdims=True)) / sigma
    taken_off = dxh.mean(axis=1, keepdims=True) + xh * (dxh * xh).mean(axis=1, keepdims=True)
    assert distance(script.through(LayerNorm(eps), params, x, dy).dx, (dxh - taken_off) / sigma) <= AUTODIFF


def test_the_formulae_of_dropout_of_channels(script: ModuleType) -> None:
    """D64 and D65, number by number; every mask of four places, for the deviation of their sum."""
    rng, q = np.random.default_rng(3), 0.25
    x, dy = rng.standard_normal((2, 5, 4, 3, 6))
    layer, key = SpatialDropout2D(q), RngKey(4, np.array(7, np.int32))
    m = layer.draw(script.XP, key, x.shape, x.dtype)
    assert m.shape == (5, 1, 1, 6)
    assert set(np.unique(m)) == {0, 1 / (1 - q)}
    found, y, dx = script.through(layer, {}, x, dy, key), np.zeros_like(x), np.zeros_like(x)
    for r, u, v, c in itertools.product(*map(range, x.shape)):
        y[r, u, v, c], dx[r, u, v, c] = m[r, 0, 0, c] * x[r, u, v, c], m[r, 0, 0, c] * dy[r, u, v, c]
    assert np.array_equal(found.y, y)
    assert np.array_equal(found.dx, dx)
    masks = np.array(list(itertools.product((0, 1), repeat=4)))  # a number each
    chance = np.prod(np.where(masks, 1 - q, q), axis=1)
    sums = masks.sum(axis=1) / (1 - q)
    mean = chance @ sums
    assert mean == pytest.approx(4, abs=1e-12)
    assert (chance @ (sums - mean) ** 2) ** 0.5 / mean == pytest.approx((q / ((1 - q) * 4)) ** 0.5, abs=1e-12)


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_roots_in_the_text_are_right(page: Path) -> None:
    shown = re.findall(r"\\sqrt\{([\d. +/()\\cdot]+)\} = ([\d. /]+)`", page.read_text("utf-8"))
    assert len(shown) == 3  # and the root of batch normalization's example
    for inside, root in shown:
        assert eval(inside.replace("\\cdot", "*")) ** 0.5 == pytest.approx(eval(root), abs=1e-15)


def test_the_formulae_of_flatten(script: ModuleType) -> None:
    """D66 and D67, number by number; both give another shape to the same memory."""
    rng = np.random.default_rng(4)
    (H, W, k), n = (3, 4, 5), 2
    x, dy = rng.standard_normal((n, H, W, k)), rng.standard_normal((n, H * W * k))
    found, y, dx = script.through(Flatten(), {}, x, dy), np.zeros_like(dy), np.zeros_like(x)
    for u, v, c in itertools.product(range(H), range(W), range(k)):
        y[:, (u * W + v) * k + c], dx[:, u, v, c] = x[:, u, v, c], dy[:, (u * W + v) * k + c]
    assert np.array_equal(found.y, y)
    assert np.array_equal(found.dx, dx)
    y, cache = Flatten().forward(script.XP, {}, x, None)
    dx, _ = Flatten().backward(script.XP, {}, cache, dy, True)
    assert np.shares_memory(y, x)
    assert dx is not None
    assert np.shares_memory(dx, dy)
