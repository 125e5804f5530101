"""Mistakes in the gradients of layers of images: each is caught, and docs/mistakes.md quotes what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnbackprop import gradcheck_function
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES as CATALOGUE
from tests.support.layer_mistakes import planted

ROOT = Path(__file__).parents[2]
KEPT = json.loads((ROOT / "docs" / "layer-mistakes.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", planted.RATES)
def test_a_right_network_passes(name: str) -> None:
    report = planted.check(name)
    assert report.passed, str(report)


@pytest.mark.parametrize("id", planted.MISTAKES)
def test_a_mistake_is_caught_and_the_page_quotes_what_is_said(id: str) -> None:
    report = planted.check(planted.MISTAKES[id]["network"], id)
    assert not report.passed
    if id in CATALOGUE:
        assert [mistake.id for mistake in report.mistakes] == [id]
    assert planted.summary(report) == KEPT["mistakes"][id]["says"]


def test_a_kernel_that_is_not_turned_is_named_in_pytorchs_layout_too() -> None:
    """W (out, in, rows, columns)."""
    net, (x, t, *_) = planted.network("network", "kernel-not-turned"), planted.digits()
    x, T = x[:3], np.eye(10)[t[:3]]

    def ours(p: Any) -> Any:
        return {name: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for name, a in p.items()}

    def loss(p: Any) -> float:
        return float(-np.mean(np.log((net.forward(ours(p), x, net.state())["P"] * T).sum(axis=1))))

    def grad(p: Any) -> Any:
        g = net.gradients(ours(p), x, T, net.state())
        return {name: a.transpose(3, 2, 0, 1) if a.ndim == 4 else a for name, a in g.items()}

    params = {name: a.transpose(3, 2, 0, 1) if a.ndim == 4 else a for name, a in net.initial(0).items()}
    report = gradcheck_function(loss, grad, params)
    assert [mistake.name for mistake in report.mistakes] == ["kernel-not-turned"]


def test_each_has_an_equation_of_the_derivation_and_a_figure_of_its_training() -> None:
    text = (ROOT / "docs" / "derivation-layers.md").read_text("utf-8")
    assert all(f"**({entry['equation']})**" in text for entry in planted.MISTAKES.values())
    assert set(KEPT["mistakes"]) == set(planted.MISTAKES)
    assert set(KEPT["right"]) == set(planted.RATES)
    assert len(planted.MISTAKES) >= 19


@pytest.mark.parametrize("id", planted.MISTAKES)
def test_the_page_has_the_lines_that_are_planted(id: str) -> None:
    assert planted.MISTAKES[id].items() <= KEPT["mistakes"][id].items()
