"""The command that finds problems of a recipe, a run or a data set: doctor."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .flags import AsJson, Flags, given_settings, print_result


def doctor(
    target: Annotated[
        str | None,
        Parameter(help="A recipe, a TOML file, a run's folder or name, or `last`; mnist if not given."),
    ] = None,
    /,
    *,
    as_json: AsJson = False,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Find problems of a recipe, a run or, with --data alone, a data set; exit 1 for a warning or fault."""
    from nnbackprop.diagnostics.doctor.run import diagnose
    from nnbackprop.report.tables import diagnosis_report

    diagnosis = diagnose(target, given_settings(flags))
    print_result(diagnosis, diagnosis_report, as_json)
    return 0 if diagnosis.healthy else 1
