"""The command that checks a recipe's gradients."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .flags import Flags, err, given_settings, out


def gradcheck(
    recipe: Annotated[str, Parameter(help="A recipe's name or a TOML file.")] = "mnist",
    /,
    *,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # type: ignore[valid-type]  # noqa: B008 (frozen)
) -> int:
    """Check a recipe's gradients by central differences, in float64, on the library you run; 1 if one is wrong."""
    from rich.text import Text

    from backends import select, with_float64
    from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck_recipe
    from nnbackprop.runs.config_files import resolve

    config = resolve(recipe, given_settings(flags))
    asked = select(config.backend, config.device)
    backend = with_float64(asked)
    if config.backend == "auto" or backend is not asked:
        err.print(backend.selection_reason, style="dim")
    report = gradcheck_recipe(config, backend)
    text = Text(str(report))
    text.highlight_regex(r"(?m)\b(ok$|passed,)", "green")
    text.highlight_regex(r"\b(WRONG|FAILED|mistake:)", "bold red")
    out.print(text, soft_wrap=True)
    return int(not report.passed)
