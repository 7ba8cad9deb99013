"""Workers under the real launcher, which is what dvc.yaml calls: they end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]

from detector_case import REPOSITORY, write_dataset, write_params  # noqa: E402


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


def test_no_worker_outlives_a_killed_launcher(launched):
    launcher, workers, _ = launched
    assert len(workers) == 2
    launcher.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_a_worker_that_hangs_takes_the_training_down(launched):
    launcher, workers, log = launched
    workers[1].suspend()
    assert launcher.wait(timeout=90) == 1
    assert "kept the others waiting" in log.read_text()


def test_a_worker_that_dies_takes_the_training_down(launched):
    launcher, workers, _ = launched
    workers[1].kill()
    assert launcher.wait(timeout=60) == 1
