"""The server's addresses: each reads a request, calls one function, and sends what that returns."""

from __future__ import annotations

import asyncio
import mimetypes
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from .errors import RequestError, body, describe
from .lab import Lab
from .messages import Break, Control, Keep, Look, Predict, Step, Train, encode
from .page_files import page_files
from .security import App, Guard, read_json
from .watchers import Watcher

Message = TypeVar("Message", bound=msgspec.Struct)
HEARTBEAT = 15.0  # seconds after which a comment keeps a silent connection open


def make_app(lab: Lab, token: str, port: int, address: str, host: str | None = None) -> App:
    """The application, behind its `Guard`."""
    files = page_files()

    async def page(request: Request) -> Response:
        return _file(files, "index.html")

    async def static(request: Request) -> Response:
        return _file(files, request.path_params["name"])

    async def events(request: Request) -> Response:
        return StreamingResponse(_watch(lab), media_type="text/event-stream")

    routes = [
        Route("/", page),
        Route("/static/{name:path}", static),
        Route("/api/events", events),
        Route("/api/options", _get(lab.options)),
        Route("/api/backends", _get(lab.backends)),
        Route("/api/runs", _get(lab.runs)),
        Route("/api/network", _get(lab.network)),
        Route("/api/dataset", _get(lab.drawings.to_json)),
        Route("/api/dataset", _post(Keep, lab.keep), methods=["POST"]),
        Route("/api/train", _post(Train, lab.train), methods=["POST"]),
        Route("/api/control", _post(Control, lab.control), methods=["POST"]),
        Route("/api/predict", _post(Predict, lab.predict), methods=["POST"]),
        Route("/api/step", _post(Step, lab.step), methods=["POST"]),
        Route("/api/break", _post(Break, lab.break_), methods=["POST"]),
        Route("/api/look", _post(Look, lab.look), methods=["POST"]),
    ]
    handlers: Any = {HTTPException: _http_error, Exception: _error}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), token, port, address, host)


def _file(files: dict[str, Path], name: str) -> Response:
    if name not in files:
        return _refused(RequestError("missing", 404, "There is no such file."))
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if name.endswith((".js", ".mjs")):  # which some systems' tables have as plain text, and browsers then refuse
        kind = "text/javascript"
    return Response(files[name].read_bytes(), media_type=kind)


def _get(function: Callable[[], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answer(function)

    return endpoint


def _post(kind: type[Message], function: Callable[[Message], Any]) -> Callable[[Request], Any]:
    decoder = msgspec.json.Decoder(kind)

    async def endpoint(request: Request) -> Response:
        try:
            content = await read_json(request.scope, request.receive)
        except RequestError as error:
            return _refused(error)
        return await _answer(lambda: function(decoder.decode(content)))

    return endpoint


async def _answer(function: Callable[[], Any]) -> Response:
    try:
        return _json(await run_in_threadpool(lambda: encode(function())))
    except Exception as error:
        return _refused(error)


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _refused(error: Exception) -> Response:
    status, content = describe(error)
    if status == 500:
        traceback.print_exception(error)
    return _json(encode(content), status)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        return _json(encode(body("method", f"{request.method} is not what this address takes.")), status)
    return _refused(RequestError("missing", 404, f"There is nothing at {request.url.path[:100]}."))


async def _error(request: Request, error: Exception) -> Response:
    return _refused(error)


async def _watch(lab: Lab) -> AsyncIterator[bytes]:
    """The events of the trainer as a stream, until the page goes or the server ends."""
    watcher = Watcher(asyncio.get_running_loop())
    lab.session.watch(watcher)
    try:
        while True:
            try:
                event = await asyncio.wait_for(watcher.queue.get(), HEARTBEAT)
            except TimeoutError:
                event = b": still here\n\n"
            if event is None:
                return
            yield event
    finally:
        lab.session.unwatch(watcher)
