"""A run of several processes, started by mpiexec: its numbers, its folder, and how it ends when one fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from nnbackprop.cli import main
from nnbackprop.cli.train import must_launch
from nnbackprop.distributed import environment
from nnbackprop.distributed import mpi as communicators
from nnbackprop.distributed.sharding import ShardedTraining
from nnbackprop.errors import UsageError
from nnbackprop.runs import launch
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.config import Config
from nnbackprop.runs.process_setup import check_same_options, check_shards, prepare_process, with_shards
from tests.stress import child_run
from tests.support import mpi, sharded_runs

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no such signals, and MS-MPI is not here"
)


def words(name: str, epochs: int, *more: str, progress: str = "off") -> tuple[str, ...]:
    return (*child_run.train_words(name, epochs, progress), "--shards", "4", *more)


def run_processes(folder: Path, processes: int, *arguments: str, **variables: str) -> tuple[int, str]:
    """The exit status of `train` in so many processes, and its errors; in one, without mpiexec."""
    with child_run.start(folder, *arguments, processes=processes, **variables) as process:
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def nnbackprop(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    mpi.mpiexec()  # skips without it
    command = [sys.executable, "-m", "nnbackprop", *arguments]
    environment = mpi.environment(**variables)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of `child_run`, and `runs/whole`, of four shards in one process."""
    made = tmp_path_factory.mktemp("processes")
    child_run.write_clouds(made)
    assert run_processes(made, 1, *words("whole", 20)) == (0, "")
    return made


# The same numbers.


def test_two_processes_have_the_bits_of_one_with_all_optimizers() -> None:
    command = mpi.command(2, "-m", "tests.support.sharded_runs", "numpy")
    done = subprocess.run(command, env=mpi.environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["found"] == sharded_runs.outcomes(["numpy"])
    assert result["processes"] == 2
    assert result["moved"] == [[4000, 2]] * 2  # 2 (N - 1) / N times the gradients, as few as can be


def test_sums_on_two_devices_have_the_bits_of_one_process() -> None:
    """PyTorch's tensors on the CPU, by Gloo: what is done by NCCL between GPUs."""
    pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    command = mpi.command(2, "-m", "tests.support.sharded_runs", "gloo")
    done = subprocess.run(command, env=mpi.environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = sharded_runs.trainer("torch", norm=True, batch_size=40)
    made.use_sharding(sharded_runs.ShardedTraining(sharded_runs.SHARDS))
    made.fit(sharded_runs.dataset(weighted=True))
    result = json.loads(done.stdout)
    assert result["host"] == result["gloo"] == sharded_runs.digest(made)
    assert re.match(r"One of 2 processes has gone \(.+\): .* --resume\.", result["lost"])  # which left at the end


def test_a_run_goes_on_with_another_number_of_processes_exactly(folder: Path) -> None:
    assert run_processes(folder, 2, *words("moved", 8)) == (0, "")
    assert run_processes(folder, 4, "--resume=moved", "--epochs=12", "--progress=off")[0] == 0
    assert run_processes(folder, 1, "--resume=moved", "--epochs=20", "--progress=off")[0] == 0
    child_run.assert_same_outcome(folder / "runs" / "moved", folder / "runs" / "whole")


def test_only_the_first_process_writes_and_prints(folder: Path) -> None:
    done = nnbackprop(folder, "train", *words("launched", 20, "--processes=2", progress="plain"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("epoch 20/20") == 1
    assert "processes: 2 of 1 thread, batches in 4 shards" in done.stdout
    child_run.assert_same_outcome(folder / "runs" / "launched", folder / "runs" / "whole")
    assert not (folder / "runs" / "launched-2").exists()


# A process that fails.


def saved_step(run: Path) -> int:
    """The step of the newest checkpoint, which must be sound."""
    _, newest, damaged = CheckpointManager(run / "checkpoints").load_newest()
    assert damaged == []
    step: int = newest.meta["progress"]["step"]
    return step


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("1:40:kill", 9, None),  # MPICH's mpiexec says so, in its own words
        ("0:40:crash", 11, None),
        ("1:40:memory", 6, "error: process 1: Memory ran out at step 41, on a shard of a batch"),
        ("0:40:memory", 6, "error: Memory ran out at step 41, on a shard of a batch"),
        ("1:40:raise", 1, "RuntimeError: a process raised this"),
        ("1:40:stop", 7, "error: One of 2 processes has not answered for 2 s"),
    ],
)
def test_all_processes_end_where_one_fails(folder: Path, how: str, status: int, message: str | None) -> None:
    run = how.replace(":", "-")
    found = run_processes(folder, 2, *words(run, child_run.ENDLESS), CHILD_FAILS=how, NNBACKPROP_MPI_TIMEOUT="2")
    assert found[0] == status
    assert saved_step(folder / "runs" / run) == 40
    if message is not None:
        assert message in found[1]
        assert found[1].count("rror:") == 1
    left = [p for p in psutil.process_iter(["cmdline"]) if run in " ".join(p.info["cmdline"] or ())]
    assert psutil.wait_procs(left, timeout=10)[1] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_a_process_without_memory_for_its_shards_ends_all(folder: Path) -> None:
    """Of a layer of 100,000 units, in the first step of one process alone."""
    large = words("large", 5, "--hidden=100000")
    status, errors = run_processes(folder, 2, *large, CHILD_FAILS="1:0:limit")
    assert status == 6, errors
    assert "error: process 1: Memory ran out at step 1, on a shard of a batch" in errors
    assert errors.count("rror:") == 1


def plain_words(name: str, *more: str, data: str = "clouds.npz") -> tuple[str, ...]:
    flags = (
        f"--data={data}",
        "--test-fraction=0",
        "--hidden=8",
        "--dropout=0",
        "--batch-size=7",
        "--threads=1",
    )
    return ("mnist-original", *flags, f"--name={name}", "--progress=off", *more)


def test_divergence_ends_all_processes_with_its_status_and_one_error(folder: Path) -> None:
    done = nnbackprop(folder, "train", *plain_words("diverged", "--lr=1e30", "--epochs=5", "--processes=2"))
    assert done.returncode == 4
    assert done.stderr.count("error:") == 1
    assert "Training diverged. Step" in done.stderr
    assert (folder / "runs" / "diverged" / "doctor.json").is_file()


def test_all_processes_go_back_to_a_checkpoint_together(folder: Path) -> None:
    flags = ("--loss=half-mse", "--lr=2", "--epochs=10", "--save-every=5", "--on-nan=restore-and-halve-lr")
    done = nnbackprop(folder, "train", *plain_words("together", *flags, "--processes=2"))
    assert done.returncode == 0, done.stderr
    assert "of the learning rate" in done.stdout
    summary = json.loads((folder / "runs" / "together" / "summary.json").read_text(encoding="utf-8"))
    assert summary["epochs"] == 10
    assert np.isfinite(summary["train_loss"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_mpiexec_saves_the_run(folder: Path, number: signal.Signals) -> None:
    run = f"stopped-{number.name}"
    with child_run.start(folder, *words(run, child_run.ENDLESS), processes=2) as process:
        child_run.wait_for_step(process, 20)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Interrupted and saved." in printed
    last = max((int(line) for line in printed.split("\n") if line.isdigit()), default=20)  # of 20 on
    assert saved_step(folder / "runs" / run) >= last


def test_killed_processes_are_started_again_and_lose_nothing(folder: Path) -> None:
    mpi.mpiexec()
    command = [sys.executable, "-m", "nnbackprop", "train", *words("again", 20, "--processes=2", "--restarts=1")]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=mpi.environment(), **pipes) as launcher:
        checkpoint = folder / "runs" / "again" / "checkpoints" / "last.safetensors"
        while not checkpoint.is_file():
            time.sleep(0.01)
        mpi.ranks(psutil.Process(launcher.pid))[1].kill()
        _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, errors
    assert errors.startswith("error: One of the 2 processes was killed by signal 9 (SIGKILL)")
    assert "started again from the last checkpoint" in errors
    child_run.assert_same_outcome(folder / "runs" / "again", folder / "runs" / "whole")


def test_one_process_that_may_be_restarted_is_started_once(folder: Path) -> None:
    done = nnbackprop(folder, "train", *plain_words("alone", "--epochs=1"), "--processes=1", "--restarts=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in (folder / "runs").glob("alone*")] == ["alone"]


def killed_once(monkeypatch: pytest.MonkeyPatch, run: Path) -> list[list[str]]:
    """The words that `launch` starts nnbackprop with, the first time killed after `run` had a checkpoint."""
    started: list[list[str]] = []

    def start(command: list[str], variables: dict[str, str]) -> launch.Launched:
        started.append(command[command.index("nnbackprop") + 1 :])
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        (run / "checkpoints" / "last.safetensors").write_bytes(b"")
        Path(variables[environment.RUN_FILE]).write_text(str(run), encoding="utf-8")
        return launch.Launched(137, 9) if len(started) == 1 else launch.Launched(0)

    monkeypatch.setattr(launch, "_find_mpiexec", lambda: "mpiexec")
    monkeypatch.setattr(launch, "_run", start)
    return started


def test_a_restart_keeps_the_library_and_device_that_a_resume_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = killed_once(monkeypatch, tmp_path / "run")
    words = [
        "train",
        "--resume=run",
        "--backend=numpy",
        "--device=cpu",
        "--epochs=9",
        "--processes=2",
        "--restarts=1",
    ]
    monkeypatch.setattr(sys, "argv", ["nnbackprop", *words])
    with pytest.raises(SystemExit, match="0"):
        main(words)
    resumed = ["train", "--resume", str(tmp_path / "run"), "--backend", "numpy", "--device", "cpu"]
    assert started == [words, resumed]


def test_a_command_to_go_on_by_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_once(monkeypatch, tmp_path / "my run")
    assert launch.launch(2, 0, ["train"]) == 137
    assert f"nnbackprop train --resume '{tmp_path}/my run' --processes 2" in capsys.readouterr().err


def test_time_before_a_restart_counts_for_the_limit(folder: Path) -> None:
    """A year has gone of the year that the run has."""
    year = "31536000"
    flags = words("late", child_run.ENDLESS, f"--max-time={year}")
    assert run_processes(folder, 1, *flags, **{environment.SECONDS_SPENT: year}) == (0, "")
    summary = json.loads((folder / "runs" / "late" / "summary.json").read_text(encoding="utf-8"))
    assert summary["reason"] == "max-time"


@pytest.mark.parametrize("rank", ["PMI_RANK", "RANK_OF_AN_UNKNOWN_LAUNCHER"])
def test_a_process_that_was_started_starts_no_others(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (name for pair in environment.SIZE_AND_RANK for name in pair):
        monkeypatch.delenv(name, raising=False)
    assert must_launch(1, restarts=2)
    monkeypatch.setenv(environment.RUN_FILE, "run")
    monkeypatch.setenv("PMI_SIZE", "1")
    monkeypatch.setenv(rank, "0")
    assert not must_launch(1, restarts=2)
    with pytest.raises(UsageError, match="--processes 2 was asked for and 1 were started"):
        must_launch(2)


def test_a_killed_process_is_named_with_what_to_do(folder: Path) -> None:
    run = words("named", child_run.ENDLESS, "--processes=2")
    command = [sys.executable, "-m", "nnbackprop", "train", *run]
    mpi.mpiexec()
    with subprocess.Popen(
        command, cwd=folder, env=mpi.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as launcher:
        checkpoint = folder / "runs" / "named" / "checkpoints" / "last.safetensors"
        while not checkpoint.is_file():
            time.sleep(0.01)
        mpi.ranks(psutil.Process(launcher.pid))[0].kill()
        printed, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGKILL
    assert printed.strip() == ""
    assert errors.count("error:") == 1
    assert f"nnbackprop train --resume {folder}/runs/named --processes 2" in errors


# What is refused before the first step.


def test_processes_with_other_options_are_refused(folder: Path) -> None:
    one = [sys.executable, "-m", "nnbackprop", "train", *plain_words("refused")]
    command = [mpi.mpiexec(), "-n", "1", *one, "--lr=0.1", ":", "-n", "1", *one, "--lr=0.2"]
    done = subprocess.run(command, cwd=folder, env=mpi.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "lr is 0.1 in process 0" in done.stderr
    assert done.stderr.count("error:") == 1
    assert not (folder / "runs" / "refused").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="one path is two files by way of /proc")
def test_processes_with_other_data_are_refused(folder: Path, tmp_path: Path) -> None:
    """The same path has other content for each, as on two machines."""
    child_run.write_clouds(tmp_path)
    clouds = dict(np.load(tmp_path / "clouds.npz"))
    np.savez(tmp_path / "clouds.npz", X=clouds["X"] + 1, y=clouds["y"])
    command = [mpi.mpiexec()]
    for place in (folder, tmp_path):
        program = f"import os; os.chdir({str(place)!r}); from nnbackprop.cli import main; main()"
        arguments = ["train", *plain_words("refused", data="/proc/self/cwd/clouds.npz")]
        command += ["-n", "1", sys.executable, "-c", program, *arguments, ":"]
    done = subprocess.run(
        command[:-1], cwd=folder, env=mpi.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert "data (its fingerprint)" in done.stderr
    assert done.stderr.count("error:") == 1
    assert not (folder / "runs" / "refused").exists()


@pytest.mark.parametrize("name", ["doctor", "gradcheck", "parity"])
def test_commands_of_one_process_refuse_several(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nnbackprop import cli

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    assert cli._run([name], debug=False) == 2
    assert f"nnbackprop {name} works in one process and was started in 2" in capsys.readouterr().err


def test_an_mpi_of_another_mpiexec_is_refused_and_not_trained_alone(folder: Path) -> None:
    """As where Open MPI's mpiexec starts processes whose mpi4py is of MPICH: each sees itself alone."""
    variables = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    done = nnbackprop(folder, "train", *plain_words("refused"), **variables)
    assert done.returncode == 2
    assert "they would train alone" in done.stderr


def test_processes_with_other_versions_are_refused() -> None:
    class Two(sharded_runs.SingleProcess):
        def all_gather_object(self, value: Any) -> list[Any]:
            _, values = value
            return [value, ("node2", {**values, "numpy": "1.0"})]

    with pytest.raises(UsageError, match=r"numpy is '.*' in process 0 .* and '1\.0' in process 1 \(node2\)"):
        check_same_options(Two(), {"lr": 0.1})


@pytest.mark.parametrize(
    ("visible", "device", "chosen"),
    [
        (None, None, "1"),
        (None, "cuda", "1"),
        ("4,5,6", "cuda", "5"),
        ("7", "cuda", "7"),  # of one alone it was chosen already, by SLURM
        ("4,5,6", "cuda:2", "4,5,6"),
        (None, "cpu", None),
    ],
)
def test_each_process_sees_the_gpu_of_its_number(
    visible: str | None, device: str | None, chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Second(sharded_runs.SingleProcess):
        rank, local_rank, size = 5, 1, 8

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")  # and to be put back
    if visible is None:
        del os.environ["CUDA_VISIBLE_DEVICES"]
    prepare_process(Second(), Config(device=device, threads=1))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == chosen


def test_processes_of_one_machine_see_different_gpus() -> None:
    code = """
import os
from nnbackprop.distributed.mpi import communicator
from nnbackprop.runs.config import Config
from nnbackprop.runs.process_setup import prepare_process
world = communicator()
prepare_process(world, Config(device="cuda"))
of_all = world.all_gather_object(os.environ["CUDA_VISIBLE_DEVICES"])
world.rank or print(of_all)
world.barrier()
"""
    environment = mpi.environment(CUDA_VISIBLE_DEVICES="4,5,6")
    done = subprocess.run(mpi.command(3, "-c", code), env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['4', '5', '6']\n", "")


def test_a_new_run_has_a_shard_a_process_unless_it_says_how_many() -> None:
    class Four(sharded_runs.SingleProcess):
        size = 4

    assert with_shards(Config(), Four()).shards == 4
    assert with_shards(Config(shards=8), Four()).shards == 8
    assert with_shards(Config(), sharded_runs.SingleProcess()).shards is None


def test_a_long_reason_to_stop_is_cut_off_between_two_characters() -> None:
    assert ShardedTraining(2).agree_to_stop("a" + "é" * 100, 1.5) == ("a" + "é" * 59, 1.5)  # of 120 bytes


def test_shards_must_be_shared_evenly() -> None:
    class Three(sharded_runs.SingleProcess):
        size = 3

    assert check_shards(Config(shards=6), Three()).shards == 6
    for shards in (None, 1, 4):
        with pytest.raises(UsageError, match="3 processes"):
            check_shards(Config(shards=shards), Three())


@pytest.mark.parametrize(
    "flags", [("--restarts=1",), ("--processes=0",), ("--processes=2", "--restarts=-1")], ids=" ".join
)
def test_launch_options_that_cannot_be_are_refused(
    flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *flags])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_without_mpiexec_or_mpi4py_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    with pytest.raises(UsageError, match=r"--processes starts mpiexec, which is neither in .* pip install mpi4py"):
        launch._find_mpiexec()
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UsageError, match=r"mpi4py, by which they train one network, cannot be imported"):
        communicators._import_mpi()


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan"])
def test_the_time_a_process_may_take_is_a_number_of_seconds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(communicators.TIMEOUT, text)
    with pytest.raises(UsageError, match=rf"is {text!r} and must be a number of seconds above 0"):
        communicators._timeout()


def test_a_lost_process_is_explained_by_what_was_saved(tmp_path: Path) -> None:
    killed, failed = launch.Launched(137, 9), launch.Launched(1)
    told = launch._what_happened(killed, "train", [], 2, 0)
    assert told == (
        "error: One of the 2 processes was killed by signal 9 (SIGKILL), as the system does where memory runs "
        "out, and the others were stopped. Nothing was saved before."
    )
    assert launch._what_happened(failed, "search", [], 2, 0).endswith("The same command goes on with the search.")
    assert "started again from the beginning; after this, 2 times" in launch._what_happened(
        failed, "train", [], 2, 3
    )
    record = tmp_path / "run"
    record.write_text(str(tmp_path), encoding="utf-8")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.safetensors").touch()
    go_on = launch._words_to_go_on(record, {})
    assert "from the last checkpoint" in launch._what_happened(failed, "train", go_on, 2, 3)
    assert f"--resume {tmp_path} --processes 2" in launch._what_happened(failed, "train", go_on, 2, 0)
