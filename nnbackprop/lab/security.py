"""What a request must be before anything looks at it: from this machine's browser, with the token, small, JSON.

A page of another site can send requests to a local server, and can make a name of its own mean 127.0.0.1 (DNS
rebinding). So the Host must be ours, the Origin of whatever writes too, and each request must have a cookie that
only the link in the terminal gives.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from .errors import RequestError, body
from .messages import encode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HOST = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>\d+))?")
MAX_BODY = 64 * 1024

POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:"),
        *("connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
NO_TOKEN = (
    "This address is open to the browser that the link in the terminal has sent here alone: open the whole link "
    "that `nnbackprop lab` printed, with its token."
)


class Guard:
    """ASGI middleware: lets through what is allowed, and adds the headers that keep a browser strict.

    `host` is None on the loopback interface; else what was bound: the machine may then be asked for by that name,
    by the name it calls itself, and by any number: rebinding needs a name of the DNS. `address` is the page's.
    """

    def __init__(self, app: App, token: str, port: int, address: str, host: str | None = None) -> None:
        self.app, self.token, self.port, self.address = app, token, port, address
        self.takes_numbers = host is not None
        self.names = LOOPBACK if host is None else (*LOOPBACK, host.lower(), socket.gethostname().lower())
        self.cookie = f"nnbackprop-lab-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on to the app."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"The lab speaks HTTP alone, not {scope['type']}.")
        send = with_headers(send)
        try:
            if self._check(scope):
                await self.app(scope, receive, send)
            else:
                await self._welcome(send)
        except RequestError as error:
            await answer(send, error.status, encode(body(error.kind, str(error))))

    def _check(self, scope: Scope) -> bool:
        """Whether the request goes on; False where it brings the token of the link. RequestError else."""
        headers = _headers(scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise RequestError(
                "refused", 403, f"The Host {host[:100]!r} is not this server's: open {self.address}"
            )
        origin = headers.get("origin")
        if origin is None and scope["method"] not in ("GET", "HEAD"):
            raise RequestError(
                "refused", 403, "A request that changes something must name its Origin: none was sent."
            )
        if origin not in (None, f"http://{host}"):
            raise RequestError("refused", 403, f"The Origin {origin[:100]!r} is not this server's page.")
        if scope["path"] == "/" and (given := parse_qs(scope["query_string"].decode("latin-1")).get("token")):
            if not self._is_token(given[0]):
                raise RequestError("refused", 403, f"The token is wrong. {NO_TOKEN}")
            return False
        if not any(map(self._is_token, _cookies(headers, self.cookie))):
            raise RequestError("refused", 403, NO_TOKEN)
        return True

    async def _welcome(self, send: Send) -> None:
        """Give the browser its cookie, and send it on to the address without the token."""
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _is_ours(self, host: str) -> bool:
        match = HOST.fullmatch(host)
        if match is None or (match["port"] or "80") != str(self.port):  # browsers leave HTTP's own port out
            return False
        name = (match["v6"] or match["name"]).lower()
        return name in self.names or (self.takes_numbers and _is_address(name))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _headers(scope: Scope) -> dict[str, str]:
    """The headers, by their names; RequestError where one that decides comes twice."""
    found: dict[str, str] = {}
    for raw_name, raw in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name in found and name in ("host", "origin", "content-type"):
            raise RequestError("refused", 403, f"The request has two headers {name}.")
        found[name] = raw.decode("latin-1")
    return found


def _cookies(headers: Mapping[str, str], name: str) -> list[str]:
    """The values of our cookie; other servers of this machine may have set others, of any form, for all ports."""
    pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
    return [value for key, _, value in pairs if key == name]


async def read_json(scope: Scope, receive: Receive) -> bytes:
    """The body of a request; RequestError unless it is JSON, by its header, and at most `MAX_BODY` long."""
    headers = _headers(scope)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError("type", 415, f"The body is {kind or 'of no named type'}; application/json is needed.")
    too_large = RequestError("large", 413, f"The body is larger than {MAX_BODY} bytes, the most that is read.")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise too_large
    content = bytearray()
    while True:
        message = await receive()
        content += message.get("body", b"")
        if len(content) > MAX_BODY:
            raise too_large
        if not message.get("more_body"):
            return bytes(content)


def with_headers(send: Send) -> Send:
    """`send`, with the headers of every answer."""
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return sending


async def answer(send: Send, status: int, content: bytes, kind: str = "application/json") -> None:
    """Send a whole answer."""
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
