"""`nnbackprop lab` as a process: its one line, its end by Ctrl-C, and what is said where it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.lab_visitor import serving
from nnbackprop.diagnostics.replay import replay
from tests.support.commands import run, said
from tests.support.lab_client import Client

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_it_prints_its_address_on_one_line_and_ctrl_c_saves_the_run(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="starlette is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    command = [sys.executable, "-m", "nnbackprop", "lab", "--port", "0", "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        client = Client(process.stdout.readline().strip())
        client.post("/api/train", recipe="weight-height", epochs=10_000)
        name = client.wait("running")["run"]
        with client.events() as events:  # a page is open
            next(events)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("", "", 0)
    assert replay(name, {}, tmp_path / "runs").exact


def test_a_lab_that_is_served_ends_where_what_it_is_served_for_fails(tmp_path: Path) -> None:
    """It would be waited for without end, in the place of the error."""
    pytest.importorskip("starlette", reason="starlette is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    processes = []

    def fail() -> None:
        with serving(tmp_path) as (_, process):
            processes.append(process)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not psutil.pid_exists(processes[0])


def test_without_its_libraries_it_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run("lab", "--no-browser") == 2
    assert "pip install starlette uvicorn" in said(capsys)


def test_a_host_beyond_this_machine_needs_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lab", "--no-browser", "--host", "0.0.0.0") == 2
    assert "--token" in said(capsys)


def test_a_run_that_is_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for library in ("starlette", "uvicorn"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    assert run("lab", "nowhere", "--no-browser") == 5
    assert "is no run folder" in said(capsys)
