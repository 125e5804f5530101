"""What a search found: its trials, the best of them, and how much each setting mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnbackprop._json import json_values

MIN_COMPLETE = 4  # trials, below which nothing is said of what mattered


@dataclass(frozen=True)
class TrialRow:
    """A trial: outcome is complete, pruned, diverged, running, no epoch, or refused with the reason.

    loss is the validation loss without penalties, of the best epoch, or of the last where the trial was pruned;
    NaN where there is none.
    """

    number: int
    outcome: str
    loss: float
    best_epoch: int | None
    epochs: int  # trained
    params: Mapping[str, Any]

    @classmethod
    def of(cls, trial: Any) -> TrialRow:
        """Of Optuna's FrozenTrial."""
        attrs, values = trial.user_attrs, trial.intermediate_values
        loss = trial.value if trial.value is not None else values[max(values)] if values else math.nan
        epochs = attrs.get("epochs", max(values, default=0))
        outcome = attrs.get("outcome", "running")
        return cls(trial.number, outcome, loss, attrs.get("best_epoch"), epochs, trial.params)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(json_values(asdict(self)))


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search by number, of which `planned` there are in the end; importances add up to 1."""

    path: Path
    planned: int
    trials: tuple[TrialRow, ...]
    importances: Mapping[str, float]

    @property
    def ranked(self) -> list[TrialRow]:
        """The trials, complete ones first, by loss."""
        return sorted(self.trials, key=lambda row: (row.outcome != "complete", not row.loss < math.inf, row.loss))

    @property
    def best(self) -> TrialRow | None:
        """The complete trial of the least validation loss."""
        first = self.ranked[:1]
        return first[0] if first and first[0].outcome == "complete" else None

    def to_json(self) -> dict[str, Any]:
        """The trials, the best one's number, and the importances, as JSON has them."""
        return {
            "search": str(self.path),
            "planned_trials": self.planned,
            "best": None if self.best is None else self.best.number,
            "importances": dict(self.importances),
            "trials": [row.to_json() for row in self.trials],
        }


def importances(study: Any) -> dict[str, float]:
    """How much of the loss's variance each setting explains among the better trials, by PED-ANOVA.

    Watanabe, Bansal and Hutter (2023). Empty where too few trials are complete.
    """
    import optuna

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < MIN_COMPLETE or len({trial.value for trial in complete}) == 1:
        return {}
    return dict(optuna.importance.get_param_importances(study))
