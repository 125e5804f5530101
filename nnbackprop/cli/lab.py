"""The command that opens the lab in the browser: lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from .flags import RunsDir, err, out
from .train import message_printer

DEFAULT_PORT = 8600


def lab(
    run: Annotated[str | None, Parameter(help="A run to open: its folder, its name, or `last`.")] = None,
    /,
    *,
    port: Annotated[int, Parameter(help="Port to listen on; 0 takes a free one.")] = DEFAULT_PORT,
    browser: Annotated[bool, Parameter(help="Whether to open the page in the browser.")] = True,
    host: Annotated[
        str | None, Parameter(help="Address to listen on, if not this machine's own alone; needs --token.")
    ] = None,
    export: Annotated[
        Path | None,
        Parameter(help="Write a page that needs no server to this folder, with the network of RUN, and end."),
    ] = None,
    token: Annotated[
        str | None, Parameter(help="What the address must name; drawn at random if not given.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Open a local page that trains networks, draws digits, and steps through backpropagation number by number."""
    if export is not None:
        from nnbackprop.errors import UsageError
        from nnbackprop.lab.export import export as export_page

        flags = {"--port": port != DEFAULT_PORT, "--no-browser": not browser, "--host": host, "--token": token}
        for flag, given in flags.items():
            if given:
                raise UsageError(
                    f"{flag} is for a server, and the page of --export needs none: leave one of them out."
                )
        export_page(runs_dir, run, export, message_printer(err))
        out.print(f"Wrote {escape(str(export / 'index.html'))}", soft_wrap=True)
        return 0
    from nnbackprop.lab.server import serve

    serve(
        runs_dir, run, port, browser, host, token, lambda address: out.print(address, soft_wrap=True, markup=False)
    )
    return 0
