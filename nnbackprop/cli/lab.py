"""The command that opens the lab in the browser: lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .flags import RunsDir, out


def lab(
    run: Annotated[str | None, Parameter(help="A run to open: its folder, its name, or `last`.")] = None,
    /,
    *,
    port: Annotated[int, Parameter(help="Port to listen on; 0 takes a free one.")] = 8600,
    browser: Annotated[bool, Parameter(help="Whether to open the page in the browser.")] = True,
    host: Annotated[
        str | None, Parameter(help="Address to listen on, if not this machine's own alone; needs --token.")
    ] = None,
    token: Annotated[
        str | None, Parameter(help="What the address must name; drawn at random if not given.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Open a local page that trains networks, draws digits, and steps through backpropagation number by number."""
    from nnbackprop.lab.server import serve

    serve(
        runs_dir, run, port, browser, host, token, lambda address: out.print(address, soft_wrap=True, markup=False)
    )
    return 0
