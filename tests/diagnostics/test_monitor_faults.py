"""Each fault is planted in a run that takes a moment, and must be found under its id and no other."""

from __future__ import annotations

import json

import pytest

from nnbackprop.diagnostics.findings import Diagnosis
from tests.support.planted_faults import FAULTS, diagnosis_of


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_under_its_id_alone(name: str) -> None:
    diagnosis = diagnosis_of(name)
    warned = [finding.id for finding in diagnosis.findings if finding.level != "note"]
    assert warned == [FAULTS[name][0]], diagnosis
    assert all(finding.measured for finding in diagnosis.findings)
    assert Diagnosis.from_json(json.loads(json.dumps(diagnosis.to_json()))).findings
