"""Errors name options as Python does; the command line shows them as its flags."""

from __future__ import annotations

import pytest

from nnbackprop.report.flags import with_flags


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("for amounts give task='regression'.", "for amounts give --task regression."),
        ("out with drop=['sold on', 'id'], or", "out with --drop 'sold on' id, or"),
        ("class_weight='balanced' is for classes", "--class-weight balanced is for classes"),
        ("such as nb.He() (init='he-normal').", "such as nb.He() (--init he-normal)."),
        ("target='7': no such column", "--target 7: no such column"),
        ("try lr=0.012, or clip_norm=1.", "try --lr 0.012, or --clip-norm 1."),
        ("pass nb.load(path, task='regression')", "pass nb.load(path, task='regression')"),
        ("runs/lr=0.2 is no run folder, nor is C:\\runs\\seed=3",) * 2,
        ("lr=0.2/x.csv, task=a/b.csv, 'data/seed=3/x.csv' and 'seed=3' are no tables",) * 2,
        ("the runs' lr=0.2, the run's seed=3.", "the runs' --lr 0.2, the run's --seed 3."),
        ("config.toml has augment = ['flip'], my_task='a' and x.task='b'",) * 2,
    ],
)
def test_options_of_a_run_become_flags_and_calls_stay(text: str, shown: str) -> None:
    assert with_flags(text) == shown
