"""Learning-rate schedules: PyTorch's where it has them, closed forms elsewhere, and the words that make them."""

from __future__ import annotations

import math
from typing import Any

import pytest

import nnbackprop.optim.schedules as schedules
from nnbackprop.errors import UsageError
from nnbackprop.optim.schedules import (
    SCHEDULES,
    Constant,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    Piecewise,
    Schedule,
    StepDecay,
    Warmup,
    parse_schedule,
)

LR = 0.3
TOTAL = 120

# ours, and the name and arguments of PyTorch's scheduler
JUDGED: list[tuple[Schedule, str, dict[str, Any]]] = [
    (Constant(LR), "ConstantLR", {"factor": 1.0}),
    (StepDecay(LR, 25, 0.5), "StepLR", {"step_size": 25, "gamma": 0.5}),
    (ExponentialDecay(LR, 1, 0.95), "ExponentialLR", {"gamma": 0.95}),
    (ExponentialDecay(LR, 10, 0.5), "ExponentialLR", {"gamma": 0.5**0.1}),
    (CosineDecay(LR, TOTAL), "CosineAnnealingLR", {"T_max": TOTAL}),
    (OneCycle(LR, TOTAL), "OneCycleLR", {"max_lr": LR, "total_steps": TOTAL, "cycle_momentum": False}),
    (OneCycle(LR, 131), "OneCycleLR", {"max_lr": LR, "total_steps": 131, "cycle_momentum": False}),
    (
        Piecewise((Constant(LR), Constant(0.1 * LR), Constant(0.01 * LR)), (30, 70)),
        *("MultiStepLR", {"milestones": [30, 70], "gamma": 0.1}),
    ),
    (Warmup(40, Constant(LR)), "LinearLR", {"start_factor": 1 / 40, "total_iters": 39}),
]


def judged(name: str, arguments: dict[str, Any]) -> list[float]:
    """The rates of PyTorch's scheduler at steps 0 .. TOTAL - 1."""
    torch = pytest.importorskip("torch", reason="the judge PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("ours", "name", "arguments"), JUDGED, ids=lambda value: str(value))
def test_every_rate_is_pytorchs(ours, name, arguments):
    want = judged(name, arguments)
    assert [ours(step) for step in range(TOTAL)] == pytest.approx(want, rel=1e-10, abs=1e-12 * LR)


def test_every_schedule_has_a_judge():
    classes = {
        value
        for value in vars(schedules).values()
        if isinstance(value, type) and issubclass(value, Schedule) and value is not Schedule
    }
    assert {type(row[0]) for row in JUDGED} == classes


def test_cosine_is_half_way_at_the_middle_and_stays_at_zero():
    cosine = CosineDecay(LR, 100)
    assert cosine(0) == LR
    assert cosine(50) == pytest.approx(LR / 2, rel=1e-15)
    assert cosine(25) == pytest.approx(LR * (2 + math.sqrt(2)) / 4, rel=1e-15)
    assert cosine(100) == cosine(1000) == 0.0


@pytest.mark.parametrize("total", [1, 2, 3, 10, 1000, 10_000])
def test_one_cycle_rises_falls_and_never_leaves_its_range(total):
    rates = [OneCycle(LR, total)(step) for step in range(total + 5)]
    assert all(LR / 250_000 * (1 - 1e-12) <= rate <= LR for rate in rates)
    assert rates[total - 1] == pytest.approx(LR / 250_000)
    assert rates[total - 1 :] == [rates[total - 1]] * 6
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_one_cycle_peaks_where_it_should():
    cycle = OneCycle(LR, 1000)
    assert (cycle(0), cycle(299)) == (pytest.approx(LR / 25), LR)


def test_a_warm_up_reaches_the_full_rate_and_then_the_next_begins():
    warmup = Warmup(4, CosineDecay(LR, 10))
    assert [warmup(step) for step in range(4)] == pytest.approx([LR / 4, LR / 2, LR * 3 / 4, LR])
    assert [warmup(4 + step) for step in range(11)] == [CosineDecay(LR, 10)(step) for step in range(11)]


@pytest.mark.parametrize(
    ("word", "want"),
    [
        ("constant", Constant(LR)),
        ("step:10:0.5", StepDecay(LR, 5000, 0.5)),
        ("exponential:0.95", ExponentialDecay(LR, 500, 0.95)),
        ("cosine", CosineDecay(LR, 10_000)),
        ("one-cycle", OneCycle(LR, 10_000)),
        ("warmup:500", Warmup(500, Constant(LR))),
        ("warmup:500+cosine", Warmup(500, CosineDecay(LR, 9_500))),
        ("warmup:500+one-cycle", Warmup(500, OneCycle(LR, 9_500))),
        ("warmup:1+step:2:0.1", Warmup(1, StepDecay(LR, 1000, 0.1))),
        ("warmup:9999+cosine", Warmup(9_999, CosineDecay(LR, 1))),
    ],
)
def test_words_make_schedules(word, want):
    """20 epochs of 500 steps; the decays count epochs, the warm-up counts steps."""
    assert parse_schedule(word, LR, total_steps=10_000, steps_per_epoch=500) == want


def test_every_word_of_the_table_is_understood():
    for form in SCHEDULES:
        word = form.replace("EPOCHS", "3").replace("STEPS", "3").replace("FACTOR", "0.5")
        assert isinstance(parse_schedule(word, LR, 100, 10), Schedule)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("", "is not a schedule"),
        ("linear", "constant, step:EPOCHS:FACTOR"),
        ("step", "step:EPOCHS:FACTOR"),
        ("step:10", "step:EPOCHS:FACTOR"),
        ("step:10:0.5:1", "step:EPOCHS:FACTOR"),
        ("step:1.5:0.5", "whole EPOCHS"),
        ("step:ten:0.5", "whole EPOCHS"),
        ("step:0:0.5", "at least 1 step; got decay_steps = 0"),
        ("step:10:0", "decay rate must be a finite number above 0; got 0.0"),
        ("exponential:nan", "got nan"),
        ("step:1:1e40", "grows beyond the largest number within 100 steps: use a factor below 1"),
        ("cosine:3", "is not a schedule"),
        ("warmup:0", "at least 1 step; got warmup_steps = 0"),
        ("warmup:-5+cosine", "at least 1 step; got warmup_steps = -5"),
        ("warmup:100+cosine", "the run has 100 steps, and its warm-up takes them all"),
        ("warmup:1000+one-cycle", "the run has 100 steps, and its warm-up takes them all"),
        ("warmup:10+", "is not a schedule"),
        ("cosine+warmup:10", "Only a warm-up goes before another schedule"),
    ],
)
def test_words_that_cannot_be_are_refused_with_words(word, says):
    with pytest.raises(UsageError) as error:
        parse_schedule(word, LR, total_steps=100, steps_per_epoch=10)
    assert says in str(error.value)


@pytest.mark.parametrize("rate", [0.1, "cosine", schedules.Constant])
def test_what_is_no_schedule_is_refused_within_another(rate: Any) -> None:
    with pytest.raises(UsageError, match=r"Warmup needs a schedule, such as nb\.Constant\(0\.1\), and got"):
        schedules.Warmup(3, rate)
    with pytest.raises(UsageError, match="Piecewise needs a schedule"):
        schedules.Piecewise((schedules.Constant(0.1), rate), (10,))


@pytest.mark.parametrize("lr", [0.0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize("word", ["constant", "step:1:0.5", "exponential:0.9", "cosine", "one-cycle", "warmup:3"])
def test_learning_rates_that_cannot_be_are_refused(word, lr):
    with pytest.raises(UsageError, match="learning rate"):
        parse_schedule(word, lr, 100, 10)
