"""The checks of a run by id, and which findings follow from which others."""

from __future__ import annotations

from dataclasses import replace

from nnbackprop.diagnostics.findings import Check, Diagnosis, run_checks

from .curve_checks import overfitting, plateau
from .history import RunHistory
from .layer_checks import dead_relu, exploding, saturation, vanishing
from .learning_rate_checks import not_finite, rate_too_high, rate_too_low

RUN_CHECKS: dict[str, Check[RunHistory]] = {
    "not-finite": not_finite,
    "rate-too-high": rate_too_high,
    "rate-too-low": rate_too_low,
    "saturation": saturation,
    "dead-relu": dead_relu,
    "vanishing": vanishing,
    "exploding": exploding,
    "plateau": plateau,
    "overfitting": overfitting,
}

CAUSES = {
    "saturation": ("rate-too-high",),
    "dead-relu": ("rate-too-high",),
    "exploding": ("rate-too-high",),
    "vanishing": ("rate-too-high", "saturation", "dead-relu"),
    "rate-too-low": ("saturation", "dead-relu", "vanishing", "exploding"),
    "plateau": ("rate-too-high", "saturation", "dead-relu", "vanishing", "exploding", "rate-too-low"),
}
"""Findings that cause others: where one of these is found too, the finding becomes a note."""


def check_history(history: RunHistory) -> Diagnosis:
    """Run all checks of a run; consequences of another finding become notes that name it."""
    diagnosis = run_checks(RUN_CHECKS, history)
    found, findings = {finding.id: finding for finding in diagnosis.findings}, []
    for finding in diagnosis.findings:
        cause = next((id for id in CAUSES.get(finding.id, ()) if id in found), None)
        if cause:
            finding = replace(finding, level="note", cause=f"It follows from {cause}.", fix=found[cause].fix)
        findings.append(finding)
    return replace(diagnosis, findings=tuple(findings))
