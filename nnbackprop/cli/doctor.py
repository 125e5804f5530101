"""The command that finds problems of a recipe, a run or a data set: doctor."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from .flags import Flags, given, out


def doctor(
    target: Annotated[
        str | None,
        Parameter(help="A recipe, a TOML file, a run's folder or name, or `last`; mnist if not given."),
    ] = None,
    /,
    *,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="Findings as JSON, and nothing else.")
    ] = False,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Find problems of a recipe, a run or, with --data alone, a data set; exit 1 for a warning or fault."""
    from nnbackprop.diagnostics.doctor.run import diagnose
    from nnbackprop.report.findings import diagnosis_report

    diagnosis = diagnose(target, given(flags))
    if as_json:
        print(json.dumps(diagnosis.to_json(), indent=2))
    else:
        out.print(diagnosis_report(diagnosis))
    return 0 if diagnosis.healthy else 1
