"""Workers under the real launcher, which is what dvc.yaml calls: they end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

pytestmark = pytest.mark.torch

from detector_case import REPOSITORY, write_dataset, write_params  # noqa: E402

TESTS = REPOSITORY / "tests"
_PATIENCE_S = 120.0


@contextmanager
def started(folder, *arguments):
    """Launch two workers that meet again and again; give the launcher and the workers."""
    write_params(folder)
    with (folder / "log").open("w") as log:
        launcher = subprocess.Popen(
            [sys.executable, TESTS / "launched_worker.py", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TESTS}"},
            stdout=log,
            stderr=log,
        )
    end = time.monotonic() + _PATIENCE_S
    while len(list(folder.glob("working?"))) < 2:
        assert launcher.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    pids = [int((folder / f"working{rank}").read_text()) for rank in range(2)]
    workers = [psutil.Process(pid) for pid in pids]
    yield launcher, workers
    for process in workers:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    launcher.kill()
    launcher.wait()


@pytest.mark.parametrize("arguments", [(), ("like-windows",)])
def test_workers_end_with_their_work(tmp_path, arguments):
    with started(tmp_path, *arguments) as (launcher, _):
        (tmp_path / "end").touch()
        assert launcher.wait(timeout=60) == 0


def test_a_hang_between_steps_is_told_and_ends_all_within_a_minute(tmp_path):
    with started(tmp_path) as (launcher, workers):
        workers[1].suspend()
        begun = time.monotonic()
        assert launcher.wait(timeout=60) == 1
        assert time.monotonic() - begun < 30  # what torchrun gives one that is suspended
    assert "Worker 1 hangs: the others have waited for it for 5 s" in (tmp_path / "log").read_text()


def test_no_worker_outlives_a_killed_launcher_between_steps(tmp_path):
    with started(tmp_path) as (launcher, workers):
        launcher.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive


def test_where_the_system_does_not_end_workers_they_watch_their_launcher(tmp_path):
    watching = (
        "import os, sys, time; from sam3_angio.detector import runtime; sys.platform = 'darwin';"
        "runtime.die_with_parent(); print(os.getpid(), flush=True); time.sleep(60)"
    )
    launching = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {watching!r}])"
    launcher = subprocess.Popen(
        [sys.executable, "-c", launching],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = psutil.Process(int(launcher.stdout.readline()))
    assert worker.is_running()
    launcher.kill()
    launcher.wait()
    _, alive = psutil.wait_procs([worker], timeout=10)
    assert not alive


# --- in a training ------------------------------------------------------------------------------


@pytest.fixture
def launched(tmp_path):
    """Start a long training; give its launcher and its workers once they train."""
    write_dataset(tmp_path)
    write_params(tmp_path, epochs=10_000, val_every=10_000)
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("timeout_s: 60", "timeout_s: 10"))
    places = ("--dataset=dataset", "--out=model", "--predictions=answers", "--curves=curves")
    command = [sys.executable, "-m", "stages.launch"]
    with (tmp_path / "log").open("w") as log:
        launcher = subprocess.Popen(
            [*command, "-m", "stages.train_phase1", *places],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=log,
            stderr=log,
        )
    while not list(tmp_path.glob("runs/phase1/*/state/checkpoint.pt")):
        assert launcher.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.2)
    workers = psutil.Process(launcher.pid).children(recursive=True)
    yield launcher, workers, tmp_path / "log"
    for process in workers:
        if process.is_running():
            process.kill()
    launcher.kill()
    launcher.wait()


@pytest.mark.slow
def test_no_worker_outlives_a_killed_launcher(launched):
    launcher, workers, _ = launched
    assert len(workers) == 2
    launcher.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


@pytest.mark.slow
def test_a_worker_that_hangs_takes_the_training_down(launched):
    launcher, workers, log = launched
    workers[1].suspend()
    assert launcher.wait(timeout=90) == 1
    assert "kept the others waiting" in log.read_text()


@pytest.mark.slow
def test_a_worker_that_dies_takes_the_training_down(launched):
    launcher, workers, _ = launched
    workers[1].kill()
    assert launcher.wait(timeout=60) == 1
