"""Starts the server: a port, a token, and the address that is printed and opened in the browser."""

from __future__ import annotations

import re
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from nnbackprop.errors import UsageError

from .security import LOOPBACK

PORT = 8600
TOKEN = re.compile(r"[\w.~-]{16,200}", re.ASCII)


def serve(
    runs_dir: Path,
    run: str | None,
    port: int,
    browser: bool,
    host: str | None,
    token: str | None,
    on_address: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C, which stops and saves a run under way; `on_address` gets the address with its token.

    UsageError for a port that is taken, for a host beyond this machine without a token, and where the libraries of
    the extra `lab` are not installed.
    """
    outside = host is not None and host.lower() not in LOOPBACK
    if outside and token is None:
        raise UsageError(
            f"--host {host} lets other machines reach the lab, which trains and reads runs here: give a "
            "--token of your own too, which they must know."
        )
    if token is not None and not TOKEN.fullmatch(token):
        raise UsageError("--token takes 16 to 200 letters, digits and . _ ~ -, which nobody guesses.")
    try:
        import uvicorn

        from .app import make_app
    except ImportError as error:
        raise UsageError(
            f"The lab needs the packages starlette and uvicorn, and one cannot be imported ({error}). Install "
            "them: pip install starlette uvicorn"
        ) from error
    from .lab import Lab

    token = token or secrets.token_urlsafe(24)
    with _bind(host or LOOPBACK[0], port) as listener:
        port = listener.getsockname()[1]
        lab = Lab(runs_dir, run)
        app = make_app(lab, token, port, host if outside else None)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off",
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        shown = host if host is not None and ":" not in host else f"[{host}]" if host else LOOPBACK[0]
        address = f"http://{shown}:{port}/?token={token}"
        on_address(address)
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            lab.close()


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket; UsageError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"The lab cannot listen on {host}, port {port} ({error}): --port 0 takes a free one."
        ) from error
    return listener
