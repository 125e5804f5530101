"""What the lab's server refuses: requests of other sites, without the token, too large, of another kind."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnbackprop.errors import UsageError
from nnbackprop.lab.messages import MAX_HIDDEN_LAYERS
from nnbackprop.lab.security import MAX_BODY, Guard
from nnbackprop.lab.server import LabServer
from tests.support.lab_client import Client, serving

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

TOKEN = "a-token-of-a-test-0"
ADDRESSES = ("/", "/static/lab.js", "/api/options", "/api/runs", "/api/events", "/api/dataset")
CONTROL = b'{"action": "reset"}'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("lab") / "runs", token=TOKEN) as (_, client):
        yield client


def refused(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    status, _, body = answer
    return status, json.loads(body)["error"]["kind"]


def test_the_link_gives_a_cookie_that_scripts_and_other_sites_do_not_get(client: Client) -> None:
    status, headers, _ = client.send("GET", f"/?token={TOKEN}", {})
    assert (status, headers["location"]) == (303, "/")
    name, *flags = headers["set-cookie"].split("; ")
    assert name == f"nnbackprop-lab-{client.port}={TOKEN}"
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} == set(flags)


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("cookie", ["", "nnbackprop-lab-{port}=wrong-token-000000", "nnbackprop-lab-1=" + TOKEN])
def test_nothing_is_answered_without_the_token(client: Client, path: str, cookie: str) -> None:
    headers = {"Cookie": cookie.format(port=client.port)} if cookie else {}
    assert refused(client.send("GET", path, headers)) == (403, "refused")


def test_a_wrong_token_in_the_link_gives_no_cookie(client: Client) -> None:
    status, headers, _ = client.send("GET", "/?token=a-token-of-a-test-1", {})
    assert (status, "set-cookie" in headers) == (403, False)


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", "[::2]:{port}",
     "192.168.0.1:{port}", "::1:{port}", "[::1:{port}", ""],
)  # fmt: skip
def test_another_host_is_refused_as_dns_rebinding_sends_it(client: Client, host: str) -> None:
    headers = client.headers | {"Host": host.format(port=client.port)}
    assert refused(client.send("GET", "/api/runs", headers)) == (403, "refused")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_every_name_of_this_machine_is_a_host_of_its_own_origin(client: Client, name: str) -> None:
    host = f"{name}:{client.port}"
    headers = client.headers | {"Host": host, "Origin": f"http://{host}"}
    assert client.send("POST", "/api/control", headers, CONTROL)[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1", "http://localhost:{port}", "https://127.0.0.1:{port}",
     "http://127.0.0.1:1", ""],
)  # fmt: skip
def test_another_origin_is_refused_also_that_of_another_name_of_this_machine(client: Client, origin: str) -> None:
    headers = client.headers | {"Origin": origin.format(port=client.port)}
    assert refused(client.send("POST", "/api/control", headers, CONTROL)) == (403, "refused")
    assert refused(client.send("GET", "/api/runs", headers)) == (403, "refused")


def test_a_request_that_changes_something_names_its_origin(client: Client) -> None:
    headers = {name: value for name, value in client.headers.items() if name != "Origin"}
    assert refused(client.send("POST", "/api/control", headers, CONTROL)) == (403, "refused")


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "", None]
)
def test_no_form_is_parsed_nor_text(client: Client, kind: str | None) -> None:
    headers = {name: value for name, value in client.headers.items() if name != "Content-Type"}
    headers |= {} if kind is None else {"Content-Type": kind}
    assert refused(client.send("POST", "/api/control", headers, CONTROL)) == (415, "type")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_more_than_64_kib_is_refused(client: Client, chunked: bool) -> None:
    body: Any = json.dumps({"action": "reset", "run": "x" * MAX_BODY}).encode()
    headers = client.headers | ({"Transfer-Encoding": "chunked"} if chunked else {})
    if chunked:
        body = iter([body[:MAX_BODY], body[MAX_BODY:]])
    assert refused(client.send("POST", "/api/control", headers, body)) == (413, "large")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("control", b"{"),
        ("control", b"[]"),
        ("control", b'{"action": "explode"}'),
        ("control", b'{"action": "set", "lr": 0}'),
        ("control", b'{"action": "set", "lr": NaN}'),
        ("train", b'{"recipe": "mnist", "runs_dir": "/etc"}'),
        ("train", b'{"recipe": "mnist", "data": "/etc/passwd"}'),
        ("train", b'{"recipe": "/tmp/recipe.toml"}'),
        ("train", b'{"recipe": "mnist", "activation": "sine"}'),
        ("train", b'{"recipe": "mnist", "epochs": 10001}'),
        ("train", json.dumps({"recipe": "mnist", "hidden": [9] * (MAX_HIDDEN_LAYERS + 1)}).encode()),
        ("train", b'{"recipe": "mnist", "hidden": [100], "dropout": [0.1, 0.1, 0.1]}'),
        ("step", b'{"network": "3-3-3"}'),
        ("step", b'{"network": "2-2-1", "params": {"dense1.W": [[1, 2]]}}'),
        ("step", b'{"network": "2-2-1", "params": {"dense9.W": [[1, 2]]}}'),
        ("step", b'{"network": "2-2-1", "samples": [4]}'),
        ("step", b'{"network": "2-2-1", "mistake": "unknown"}'),
        ("step", b'{"network": "2-2-1", "loss": "softmax-cross-entropy", "output_activation": "identity"}'),
        ("step", b'{"network": "2-2-1", "loss": "binary-cross-entropy", "output_activation": "sigmoid"}'),
        ("step", b'{"network": "2-2-1", "params": {"dense1.W": [[1, 2], [3]]}}'),
        ("step", b'{"network": "2-2-1", "optimizer": "adam", "optimizer_state": {"velocity": {}}}'),
        ("step", b'{"network": "2-2-1", "mistake": "softmax-diagonal"}'),
        ("break", b'{"network": "2-2-1", "mistake": "mse-factor", "loss": "half-mse"}'),
        ("step", b'{"network": "2-2-1", "output_activation": "identity", "mistake": "output-derivative-missing"}'),
        ("control", b'{"action": "set"}'),
        ("look", b'{"view": "compare", "run": "one"}'),
        ("step", b'{"network": "2-2-1", "check": {"tensor": "dense1.W", "index": [0, 2]}}'),
        ("predict", b'{"drawing": {"rows": 20, "columns": 20, "pixels": ""}}'),
        ("predict", b'{"drawing": {"rows": 113, "columns": 28, "pixels": ""}}'),
        ("dataset", b'{"label": 3}'),
    ],
)
def test_what_cannot_be_is_a_usage_error(client: Client, path: str, body: bytes) -> None:
    assert refused(client.send("POST", f"/api/{path}", client.headers, body)) == (422, "usage")


@pytest.mark.parametrize("name", ["../secret", "..", ".", "a/../../secret", "/etc", "no-such-run"])
def test_a_run_is_a_name_in_the_folder_of_runs_and_no_path(client: Client, name: str, tmp_path: Path) -> None:
    body = json.dumps({"action": "resume", "run": name}).encode()
    assert refused(client.send("POST", "/api/control", client.headers, body)) == (404, "missing")


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/", "/api/none", "/x"]
)
def test_no_path_of_a_request_is_opened(client: Client, path: str) -> None:
    assert refused(client.send("GET", path, client.headers)) == (404, "missing")


def test_scripts_are_javascript_on_every_system(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that is told nosniff runs no script of type text/plain, which some Windows tables have for .js."""
    monkeypatch.setattr("mimetypes.guess_type", lambda name: ("text/plain", None))
    status, headers, body = client.send("GET", "/static/js/main.js", client.headers)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/javascript")
    assert b"import " in body


def test_two_headers_of_a_name_are_refused(client: Client) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)) as connection:
        connection.putrequest("GET", "/api/runs")
        for name, value in client.headers.items():
            connection.putheader(name, value)
        connection.putheader("Origin", client.headers["Origin"])
        connection.endheaders()
        assert connection.getresponse().status == 403


@pytest.mark.parametrize(
    "other", ['other={"a":1}', "flag", "version=3", "a=x, y", "a[b]=1", "a=b=c", "a=\xff", 'a"b=\x01', 'x="a b"c']
)
def test_cookies_of_other_servers_of_this_machine_do_not_hide_ours(client: Client, other: str) -> None:
    """A browser sends the cookies of 127.0.0.1 to all of its ports."""
    for cookie in (f"{other}; {client.cookie}", f"{client.cookie}; {other}"):
        assert client.send("GET", "/api/runs", client.headers | {"Cookie": cookie})[0] == 200
    headers = client.headers | {"Cookie": f"{other}; x{client.cookie}"}
    assert refused(client.send("GET", "/api/runs", headers)) == (403, "refused")


def test_what_fails_within_the_server_is_said_without_its_text(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page names the kind of error; the terminal has the rest, which may hold paths."""

    def fail() -> None:
        raise RuntimeError("/home/somebody")

    monkeypatch.setattr("nnbackprop.lab.stepping.step", lambda request: fail())
    status, _, body = client.send("POST", "/api/step", client.headers, b'{"network": "2-2-1"}')
    assert (status, json.loads(body)["error"]["kind"]) == (500, "internal")
    assert "RuntimeError" in body.decode()
    assert "somebody" not in body.decode()
    assert "RuntimeError: /home/somebody" in capsys.readouterr().err


def test_an_address_takes_one_method(client: Client) -> None:
    assert refused(client.send("GET", "/api/train", client.headers)) == (405, "method")
    assert refused(client.send("DELETE", "/api/runs", client.headers)) == (405, "method")


@pytest.mark.parametrize(("path", "cookie"), [("/api/runs", True), ("/api/runs", False), ("/api/none", True)])
def test_every_answer_keeps_the_browser_strict(client: Client, path: str, cookie: bool) -> None:
    _, headers, _ = client.send("GET", path, client.headers if cookie else {})
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    for directive in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[directive] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data: blob:"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_other_machines_need_a_token_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0 .* --token"), serving(tmp_path, host="0.0.0.0"):
        pass
    with pytest.raises(UsageError, match="16 to 200"), serving(tmp_path, host="0.0.0.0", token="short"):
        pass


def test_the_loopback_interface_of_ipv6_needs_no_token_of_ones_own(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    server = LabServer(tmp_path, port=0, host="::1")
    thread = threading.Thread(target=server.run)
    thread.start()
    address, token = server.address.removeprefix("http://").split("/?token=")
    try:
        for host, status in ((address, 303), (address.replace("::1", "::2"), 403)):
            with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
                connection.request("GET", f"/?token={token}", headers={"Host": host})
                assert connection.getresponse().status == status
    finally:
        server.stop()
        thread.join()


def test_on_all_interfaces_a_host_is_an_address_or_the_name_of_this_machine(tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0", token=TOKEN) as (_, client):
        own = socket.gethostname().upper()
        for host, status in (("192.168.7.7", 200), ("[fe80::1]", 200), (own, 200), ("evil.example", 403)):
            name = f"{host}:{client.port}"
            headers = client.headers | {"Host": name, "Origin": f"http://{name}"}
            assert client.send("GET", "/api/runs", headers)[0] == status


def test_on_all_interfaces_the_link_has_an_address_that_can_be_opened(tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0", token=TOKEN) as (_, client):
        name, _, port = client.host.partition(":")
        assert not ipaddress.ip_address(name).is_unspecified
        with contextlib.closing(http.client.HTTPConnection(name, int(port), timeout=60)) as connection:
            connection.request("GET", f"/?token={TOKEN}")
            assert connection.getresponse().status == 303
        answer = client.send("GET", "/api/runs", client.headers | {"Host": "evil.example"})
        assert f"open http://{client.host}/" in json.loads(answer[2])["error"]["message"]


def test_a_host_without_a_port_is_port_80() -> None:
    """Browsers leave the port of HTTP out."""

    async def app(*_: Any) -> None:
        pass

    async def refuse(message: Any) -> None:
        raise AssertionError(message)

    headers = [(b"cookie", b"nnbackprop-lab-80=" + TOKEN.encode())]
    for host in (b"127.0.0.1", b"[::1]", b"localhost:80"):
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"",
                 "headers": [*headers, (b"host", host), (b"origin", b"http://" + host)]}  # fmt: skip
        with pytest.raises(StopIteration):  # the end of a coroutine that waits for nothing
            Guard(app, TOKEN, 80, "http://127.0.0.1:80/")(scope, None, refuse).send(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["nosuch.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_named(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match=rf"{re.escape(host)}, port 0 .* --host takes an address of this machine"):
        LabServer(tmp_path, host=host, token=TOKEN)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} .* --port 0"):
            LabServer(tmp_path, port=port)
