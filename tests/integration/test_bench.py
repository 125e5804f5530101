"""`nnbackprop bench`: workers, the check before the clock, the arithmetic of slices by hand. No test is timed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from rich.console import Console

from benchmarks import checks, contest, profile
from benchmarks.chart import chart, draw
from benchmarks.contestants import ENTRIES, US
from benchmarks.contestants.ours import Ours
from benchmarks.contestants.tutorial import Tutorial
from benchmarks.crew import Worker, WorkerError
from benchmarks.load import taken
from benchmarks.machine import Machine
from benchmarks.match import Match, Pace, row
from benchmarks.results import Absent, Check, Result, Slice, Spread, Timing, results_path
from benchmarks.table import report
from benchmarks.worker import Stage
from benchmarks.works import WORKS, Problem
from nnbackprop._system_info import Moment
from nnbackprop.cli import main
from nnbackprop.cli.bench import Work
from nnbackprop.errors import UsageError

SHORT = Pace(rounds=2, slice=0.001, rest=0.0)
MACHINE = Machine("Some CPU @ 3.00GHz", 4, 2, 2**33, "Linux", "3.11.7", {"numpy": "2.4.6"}, None, "Zen")


@pytest.fixture(scope="module")
def small() -> Problem:
    """The full-batch work on fifty of its samples, which take no time."""
    problem = Problem.of(WORKS["W2"])
    train = problem.train
    return replace(problem, train=replace(train, inputs=train.inputs[:50], targets=train.targets[:50]))


class Desk:
    """A worker without a process, whose contestant gets the small problem, or one of another rate."""

    def __init__(self, name: str, problem: Problem, rate: float = 1.0) -> None:
        config = replace(problem.config, lr=rate * problem.config.lr)
        self.problem, self.stage = replace(problem, config=config), Stage(ENTRIES[name], 1)
        self.answer: dict[str, Any] = {}

    def send(self, call: str, **arguments: Any) -> None:
        if call == "prepare":
            self.stage.contestant = self.stage.entry.make(self.problem, WORKS["W2"].chunk)
            self.answer = {"ok": None}
        else:
            self.answer = self.stage.answer(call, **arguments)

    def receive(self) -> Any:
        if "error" in self.answer:
            raise WorkerError(self.answer["error"])
        return self.answer["ok"]

    def end(self) -> None:
        pass


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["bench", *words])
    return int(stop.value.code or 0)


# Workers.


def test_a_worker_trains_what_the_textbook_says(tmp_path: Path) -> None:
    worker = Worker("numpy", 1)
    try:
        with pytest.raises(WorkerError, match="nothing was prepared"):
            worker.ask("run", steps=1)
        worker.ask("prepare", work="W2")
        worker.ask("check", steps=3, path=str(tmp_path / "weights.npz"))
        textbook = Tutorial(Problem.of(WORKS["W2"]), 20)
        textbook.run(0, 3)
        assert checks.apart(checks.load(tmp_path / "weights.npz"), textbook.weights()) == pytest.approx(
            0, abs=1e-13
        )
        took = worker.ask("run", steps=2)
        assert sorted(took) == ["cpu", "seconds"]
        assert min(took.values()) > 0
        worker.ask("drop")
        with pytest.raises(WorkerError, match="nothing was prepared"):
            worker.ask("run", steps=1)
        with pytest.raises(WorkerError, match="there is no call 'sleep'"):
            worker.ask("sleep")
    finally:
        worker.end()
    assert worker.process.returncode == 0


def test_a_worker_that_is_no_more_says_its_last_words() -> None:
    worker = Worker("nobody", 1)
    try:
        with pytest.raises(WorkerError, match=r"status 1\..*KeyError: 'nobody'"):
            worker.ask("prepare", work="W2")
    finally:
        worker.end()


def test_what_is_blocked_is_not_there_and_what_is_printed_is_no_answer() -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    code = """
import io, sys
sys.argv, sys.stdin = ["worker", "numpy"], io.StringIO('{"call": "run", "steps": 1}')
from benchmarks import worker
worker.main()
print("noise")
try:
    import numba
except ImportError:
    print("no numba")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"error": "ValueError: nothing was prepared"}
    assert done.stderr.splitlines() == ["noise", "no numba"]


# The check.


def test_the_distance_of_weights_is_their_norms() -> None:
    ours = ({"W": np.array([[3.0, 0.0]]), "b": np.array([4.0])},)
    theirs = ({"W": np.array([[3.0, 0.3]]), "b": np.array([4.4])},)
    assert checks.apart(theirs, ours) == pytest.approx(0.1)  # |(0, 0.3, 0.4)| / |(3, 0, 4)|
    assert checks.apart(({"W": np.array([[3.0, 0.3]])},), ours) is None
    assert checks.apart(({"W": np.array([[np.nan, 0.0]]), "b": np.array([4.0])},), ours) is None
    assert checks.apart((), ours) is None
    assert not Check("thinc", "weights", 20, None, 1.0).passed


@pytest.mark.parametrize(("rate", "passed"), [(1.0, True), (1.001, False)])
def test_another_learning_rate_is_found_and_not_timed(small: Problem, rate: float, passed: bool) -> None:
    crew = {"numpy": Desk("numpy", small), "tutorial": Desk("tutorial", small, rate)}
    timing = Match("W2", crew, 1, SHORT, lambda words: None).play()
    (check,) = timing.checks
    assert (check.contestant, check.by, check.steps, check.limit) == ("tutorial", "weights", 20, 1e-12)
    assert check.passed is passed
    assert timing.us == "numpy"
    assert [r.contestant for r in timing.rows] == ["numpy", "tutorial"][: 1 + passed]
    assert all(len(r.slices) == SHORT.rounds for r in timing.rows)
    assert all(s.steps % WORKS["W2"].chunk == 0 for r in timing.rows for s in r.slices)


def test_fewer_steps_are_held_to_a_share_of_the_limit(small: Problem) -> None:
    crew = {"numpy": Desk("numpy", small), "tutorial": Desk("tutorial", small)}
    pace = replace(SHORT, steps=5)
    (check,) = Match("W2", crew, 1, pace, lambda words: None).play().checks
    assert (check.steps, check.limit) == (5, 2.5e-13)


def test_a_contestant_that_breaks_is_listed_and_the_others_go_on(small: Problem) -> None:
    crew = {"numpy": Desk("numpy", small), "tutorial": Desk("tutorial", small)}
    crew["tutorial"].problem = replace(small, weights=())
    timing = Match("W2", crew, 1, SHORT, lambda words: None).play()
    assert [r.contestant for r in timing.rows] == ["numpy"]
    assert [absent.contestant for absent in timing.absent] == ["tutorial"]
    assert "Error" in timing.absent[0].reason


def test_without_one_of_ours_there_is_nothing_to_compare_with(small: Problem) -> None:
    with pytest.raises(UsageError, match="nobody of ours to compare with at W2"):
        Match("W2", {"tutorial": Desk("tutorial", small)}, 1, SHORT, lambda words: None).play()


@pytest.mark.parametrize(("rate", "status"), [(1.0, 0), (1.001, 1)])
def test_the_command_shows_json_keeps_its_files_and_exits_1_where_a_check_fails(
    rate: float,
    status: int,
    small: Problem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = ("numpy", "tutorial")
    monkeypatch.setattr(contest, "QUICK", SHORT)
    monkeypatch.setattr(contest, "ENTRIES", {name: ENTRIES[name] for name in here})
    monkeypatch.setattr(contest, "Worker", lambda name, _: Desk(name, small, rate if name == "tutorial" else 1.0))
    assert run("--quick", "--works", "W2", "--threads", "1", "--json", "--out", str(tmp_path)) == status
    said = capsys.readouterr()
    result = Result.from_json(said.out)
    assert result.command == "nnbackprop bench --quick --works W2 --threads 1"
    assert result.machine.packages["numpy"] == np.__version__
    assert ("plain NumPy, as in tutorials is not timed: after 20 steps" in " ".join(said.err.split())) is bool(
        status
    )
    assert results_path(result.machine, tmp_path).read_text() == result.to_json()
    assert results_path(result.machine, tmp_path).with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_not_installed_is_listed_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "find_spec", lambda name: None)
    reasons = {name: contest.missing(name, entry) for name, entry in ENTRIES.items()}
    assert reasons["sklearn"] == Absent(
        "sklearn", "scikit-learn", "sklearn is not installed: pip install scikit-learn"
    )
    assert str(reasons[US] and reasons[US].reason).endswith('pip install "nnbackprop[fast]"')
    monkeypatch.undo()
    assert contest.missing("tutorial", ENTRIES["tutorial"]) is None


@pytest.mark.parametrize("words", [("--threads", "0"), ("--profile", "W3", "--backend", "jax")])
def test_what_cannot_be_is_refused(words: Sequence[str]) -> None:
    assert run(*words) == 2


def test_the_flags_name_the_works() -> None:
    assert get_args(Work) == tuple(WORKS)


# Slices and what follows from them.


@pytest.mark.parametrize(
    ("cores", "threads", "cores_taken"),
    [(2, 2, 0.45), (4, 4, 0.45), (4, 2, 0.0), (2, 1, 0.0)],
)
def test_others_take_what_is_busy_and_not_ours_beyond_the_cores_left_free(
    cores: int, threads: int, cores_taken: float
) -> None:
    before, after = Moment(100.0, 50.0, 7.0), Moment(102.0, 54.0, 7.1)
    # 4.0 s busy, of which 0.1 are the parent's and 3.0 the contestant's: 0.9 s in 2 s
    assert taken(before, after, 3.0, cores, threads) == pytest.approx(cores_taken)


def test_others_take_nothing_where_counters_fall_behind() -> None:
    assert taken(Moment(0, 0, 0), Moment(1, 1.9, 0), 2.0, 2, 2) == 0.0


def slices(*seconds: float, spoilt: Sequence[int] = ()) -> list[Slice]:
    return [Slice(20, s, 0.5 if i in spoilt else 0.0, i not in spoilt) for i, s in enumerate(seconds)]


def test_ratios_are_taken_within_a_round_and_spoilt_slices_left_out() -> None:
    ours, floor = slices(2.0, 4.0, 5.0, 2.0, spoilt=[3]), slices(1.0, 1.0, 1.0, 1.0)
    found = row("thinc", slices(3.0, 4.0, 20.0, 9.0, spoilt=[1]), ours, floor)
    assert found.seconds == Spread(9.0, 3.0, 20.0)  # of 3, 20, 9
    assert found.ratio == Spread(2.75, 1.5, 4.0)  # of 3/2 and 20/5
    assert found.floor == pytest.approx(1 / 9)  # of 1/3, 1/20, 1/9
    assert (found.kind, found.left_out, found.all_spoilt) == ("rival", 1, False)


def test_where_all_is_spoilt_all_counts() -> None:
    ours = slices(1.0, 2.0, 4.0)
    found = row("thinc", slices(2.0, 6.0, 16.0, spoilt=[0, 1, 2]), ours, None)
    assert found.seconds == Spread(6.0, 2.0, 16.0)
    assert found.ratio == Spread(3.0, 2.0, 4.0)
    assert found.floor is None
    assert (found.left_out, found.all_spoilt) == (0, True)
    assert row("thinc", ours, ours, None).ratio == Spread(1.0, 1.0, 1.0)


@pytest.fixture
def result() -> Result:
    ours, theirs = slices(1.0, 2.0, 1.0), slices(2.0, 6.0, 2.0, spoilt=[1])
    floor = slices(0.5, 1.0, 0.5)
    rows = (
        row("numpy", ours, ours, floor),
        row("products", floor, ours, floor),
        row("torch-eager", theirs, ours, floor),
        row("jax-grad", slices(8.0, 8.0, 8.0, spoilt=[0, 1, 2]), ours, floor),
    )
    checked = (Check("thinc", "weights", 20, 0.03, 1e-4), Check("torch-eager", "weights", 20, 1e-6, 1e-4))
    absent = (Absent("keras", "Keras on JAX", "ImportError: no backend"),)
    timing = Timing("W1n", "the same, no dropout", "epoch of 60,000", "numpy", rows, absent, checked)
    gone = (Absent("sklearn", "scikit-learn", "sklearn is not installed: pip install scikit-learn"),)
    return Result("nnbackprop bench", "2030-01-31", MACHINE, (timing,), gone)


def test_any_two_are_compared_round_by_round(result: Result) -> None:
    (timing,) = result.timings
    assert result.timing("W1n") is timing
    assert timing.ratios("torch-eager", "products") == [4.0, 4.0]  # 2/0.5 twice; 6/1 is spoilt
    assert timing.ratios("jax-grad", "torch-eager") == [4.0, 8 / 6, 4.0]  # no round is clean, so all count
    assert timing.ratios("thinc", "numpy") == []
    assert result.timing("W4") is None


def test_json_gives_back_what_it_was_given(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result
    plain = json.loads(result.to_json())
    assert plain["timings"][0]["rows"][2]["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert plain["machine"]["kernel"] == "Zen"
    assert not result.passed


def test_a_machine_has_a_file_of_its_own() -> None:
    assert results_path(MACHINE, Path("r")) == Path("r/some-cpu-3-00ghz-4-cores.json")
    as_if = Machine("AMD EPYC", 2, 2, 1, "Linux", "3.12.0", {}, "Haswell", "Haswell")
    assert results_path(as_if, Path("r")) == Path("r/amd-epyc-2-cores-haswell.json")


def test_the_table_says_what_was_found(result: Result) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report(result))
    shown = " ".join(console.export_text().split())
    for words in (
        "W1n the same, no dropout s per times epoch of 60,000 ours floor",
        "nnbackprop, NumPy 1.00 (1.00..2.00) 1.00 50%",
        "PyTorch, eager 2.00 2.00 25%",
        "Thinc is not timed: after 20 steps its weights are 3.0e-02 from ours; 1e-04 is the limit.",
        "Keras on JAX left out: ImportError: no backend",
        "Slices left out, in which others took over 10% of a core: PyTorch, eager 1 of 3",
        "Others took the machine in every slice, so all of them count: JAX autodiff, jit and scan",
        "scikit-learn left out: sklearn is not installed: pip install scikit-learn",
        "Some CPU @ 3.00GHz, 4 cores, 2 threads, 8.0 GiB, Linux, OpenBLAS for Zen",
        "Python 3.11.7, numpy 2.4.6",
    ):
        assert words in shown


def test_the_chart_has_a_bar_from_1_to_each_ratio(result: Result, tmp_path: Path) -> None:
    (axes,) = chart(result).axes
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches]
    assert ends == pytest.approx([0.5, 2.0, 8.0])  # products, PyTorch, JAX: in the order of the entries
    assert {patch.get_x() for patch in axes.patches} == {1}
    assert axes.get_xscale() == "log"
    titles = [label.get_text() for label in axes.get_yticklabels()]
    assert titles == [ENTRIES[name].title for name in ("products", "torch-eager", "jax-grad")]
    draw(result, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# The profile.


def test_pieces_are_medians_over_chunks_and_their_shares_the_whole() -> None:
    rows = [{"fetch": 4e-6, "rest": 2e-6}, {"fetch": 8e-6, "rest": 4e-6}, {"fetch": 6e-6, "rest": 90e-6}]
    fetch, rest = profile.pieces(rows, {"fetch": 6}, chunk=2)
    assert (fetch.name, fetch.calls, rest.calls) == ("fetch", 1, 0)
    assert (fetch.microseconds, rest.microseconds) == pytest.approx((3.0, 2.0))
    assert (fetch.share, rest.share) == pytest.approx((0.6, 0.4))


def test_a_profile_names_every_layer_both_ways_and_sums_to_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "SECONDS", 0.0)
    assert run("--profile", "W3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    names = [piece["name"] for piece in found["pieces"]]
    layers = ["dense1", "sigmoid1", "dense2", "sigmoid2"]
    assert names == [
        "get_batch",
        *(f"{name} forward" for name in layers),
        "loss",
        *(f"{name} backward" for name in reversed(layers)),
        "counting right answers",
        "optimizer",
        "the rest of the step",
        "between steps",
    ]
    assert {piece["calls"] for piece in found["pieces"][:-2]} == {1}
    assert sum(piece["share"] for piece in found["pieces"]) == pytest.approx(1.0)
    assert all(piece["microseconds"] > 0 for piece in found["pieces"])


def test_a_clock_changes_nothing_of_a_step(small: Problem) -> None:
    plain, timed = Ours(small, 20, "numpy"), Ours(small, 20, "numpy")
    clock = profile.Clock()
    timed.step = profile.timed_step(timed.step, clock)
    for contestant in (plain, timed):
        contestant.run(0, 10)
    for a, b in zip(plain.weights(), timed.weights(), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert clock.calls["loss"] == clock.calls["dense1 forward"] == 10
    assert clock.calls["penalty"] == 20  # its loss and its gradients
