"""Starts the server: a port, a token, and the address that is printed and opened in the browser."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from nnbackprop.errors import UsageError

from .security import LOOPBACK

TOKEN = re.compile(r"[\w.~-]{16,200}", re.ASCII)


class LabServer:
    """A server that listens, and the address that opens it, with its token."""

    def __init__(
        self,
        runs_dir: Path,
        run: str | None = None,
        port: int = 0,
        host: str | None = None,
        token: str | None = None,
    ) -> None:
        """Listen on `port`, 0 for a free one.

        UsageError for a port that is taken, for a host beyond this machine without a token, and where what the
        extra `lab` installs is not there.
        """
        outside = host is not None and host.lower() not in LOOPBACK
        _check_token(token, host if outside else None)
        uvicorn, app = _import_libraries()
        from .lab import Lab

        token = token or secrets.token_urlsafe(24)
        self.lab = Lab(runs_dir, run)
        self._listener = _bind(host or LOOPBACK[0], port)
        port = self._listener.getsockname()[1]
        page = f"http://{_name_to_open(self._listener, host)}:{port}/"
        config = uvicorn.Config(
            app.make_app(self.lab, token, port, page, host if outside else None),
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._end = self._server.handle_exit
        self._server.handle_exit = self._handle_exit
        self.address = f"{page}?token={token}"

    def run(self) -> None:
        """Serve until `stop`, or until Ctrl-C; a run under way is then stopped and saved."""
        threading.Thread(target=self.lab.warm_up, name="nnbackprop lab warm-up").start()
        try:
            with self._listener, contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again
                self._server.run(sockets=[self._listener])
        finally:
            self.lab.close()

    def _handle_exit(self, number: int, frame: Any) -> None:
        """On a signal: the pages' connections end at once, as uvicorn would wait for them."""
        self.lab.session.close_watchers()
        self._end(number, frame)

    def stop(self) -> None:
        """Let `run` return."""
        self.lab.session.close_watchers()
        self._server.should_exit = True


def serve(
    runs_dir: Path,
    run: str | None,
    port: int,
    browser: bool,
    host: str | None,
    token: str | None,
    on_address: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C; `on_address` gets the address with its token, which the browser opens if wanted."""
    server = LabServer(runs_dir, run, port, host, token)
    on_address(server.address)
    if browser:
        threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
    server.run()


def _check_token(token: str | None, host: str | None) -> None:
    """UsageError where a host beyond this machine has no token, or for one that can be guessed."""
    if host is not None and token is None:
        raise UsageError(
            f"--host {host} lets other machines reach the lab, which trains and reads runs here: give a --token "
            "of your own too, which they must know."
        )
    if token is not None and not TOKEN.fullmatch(token):
        raise UsageError("--token takes 16 to 200 letters, digits and . _ ~ -, which nobody guesses.")


def _import_libraries() -> tuple[Any, Any]:
    """uvicorn, and the module that needs Starlette; UsageError says how to install them."""
    try:
        return import_module("uvicorn"), import_module("nnbackprop.lab.app")
    except ImportError as error:
        raise UsageError(
            f"The lab needs the packages starlette and uvicorn, and one of them cannot be imported ({error}). "
            "Install them: pip install starlette uvicorn"
        ) from error


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket; UsageError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # from here on a browser waits, though nothing is served yet
    except (OSError, OverflowError) as error:
        listener.close()
        foreign = isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL
        advice = "--host takes an address of this machine." if foreign else "--port 0 takes a free one."
        raise UsageError(f"The lab cannot listen on {host}, port {port} ({error}): {advice}") from error
    return listener


def _name_to_open(listener: socket.socket, host: str | None) -> str:
    """What a browser calls the host; where all addresses are listened on, the one that other machines know."""
    name, v6 = host or LOOPBACK[0], listener.family == socket.AF_INET6
    if ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_unspecified:
        with socket.socket(listener.family, socket.SOCK_DGRAM) as outward:
            try:
                outward.connect(("2001:db8::1" if v6 else "192.0.2.1", 9))  # no machine's; nothing is sent
                name = outward.getsockname()[0]
            except OSError:  # there is no network
                name = "::1" if v6 else LOOPBACK[0]
    return f"[{name}]" if v6 else name
