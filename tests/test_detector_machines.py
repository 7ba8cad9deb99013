"""Several machines train what one would; they need share no disk."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# Imported here, so that forked workers need not.
import fvcore.common.param_scheduler  # noqa: E402, F401
from detector_case import (  # noqa: E402
    REPOSITORY,
    log_of,
    run_machines,
    run_workers,
    set_train,
    write_dataset,
    write_params,
)

from sam3_angio.detector import launcher, training  # noqa: E402
from sam3_angio.detector.training import TREE, Outs, session, train_phase  # noqa: E402

OUTS = Outs(model=Path("model"), predictions=Path("answers"), curves=Path("curves"))


def train() -> None:
    with session():
        train_phase(TREE, dataset=Path("dataset"), outs=OUTS)


def project(folder: Path, *, workers_here: int = 1, **train: object) -> Path:
    folder.mkdir(parents=True)
    write_dataset(folder)
    write_params(folder, workers=workers_here, epochs=2, val_every=1, keep="best")
    set_train(folder, **train)
    return folder


def weights_of(folder):
    return torch.load(folder / OUTS.model / "checkpoint.pt", weights_only=True)["model"]


def assert_same(first, second):
    ours, theirs = weights_of(first), weights_of(second)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    name = OUTS.predictions / "results.json"
    assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """What two workers of one machine come to."""
    folder = project(tmp_path_factory.mktemp("one") / "machine")
    assert run_workers(train, folder=folder, count=2) == [0, 0], log_of(folder, 0)
    return folder


def machines(root):
    return [project(root / name, launcher="c10d", nodes=2) for name in ("first", "other")]


# --- training ------------------------------------------------------------------------------


def test_two_machines_that_share_no_disk_train_what_two_workers_do(two_workers, tmp_path):
    first, other = machines(tmp_path)
    assert run_machines(train, folders=[first, other]) == [0, 0], log_of(first, 0)
    assert_same(two_workers, first)
    for name in (OUTS.model, OUTS.predictions, OUTS.curves):
        assert not (other / name).exists()


@pytest.mark.slow  # half a minute
def test_a_killed_training_goes_on_though_only_the_first_machine_has_its_state(
    two_workers, tmp_path, monkeypatch
):
    first, other = machines(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_predict", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert run_machines(train, folders=[first, other]) == [-signal.SIGKILL] * 2
    assert list(first.glob("runs/phase1/*/state/best_*.pt"))
    # One epoch less than is done, on the wrong machine: what an older training may have left.
    (state,) = first.glob("runs/phase1/*/state/checkpoint.pt")
    stale = other / state.relative_to(first)
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_bytes(b"of another training")
    assert run_machines(train, folders=[first, other]) == [0, 0], log_of(other, 1)
    assert stale.read_bytes() == state.read_bytes()
    assert_same(two_workers, first)


@pytest.mark.parametrize("what", ["data.val", "train.seed"])
def test_a_machine_with_other_data_or_parameters_is_refused_by_name(what, tmp_path):
    first, other = machines(tmp_path)
    if what == "data.val":
        shutil.rmtree(other / "dataset/val")
        shutil.copytree(first / "dataset/train", other / "dataset/val")
    else:
        shutil.rmtree(other)
        project(other, launcher="c10d", nodes=2, seed=7)
    begun = time.monotonic()
    assert run_machines(train, folders=[first, other]) == [1, 1]
    assert time.monotonic() - begun < 60
    assert "Worker 1 ended on another machine" in log_of(first, 0)
    assert f"these differ: {what}. Bring commit" in log_of(other, 1)
    assert not (first / OUTS.model).exists()


# --- launchers for real --------------------------------------------------------------------------

COMMAND = (
    *("-m", "stages.train_phase1", "--dataset", "dataset", "--out", "model"),
    *("--predictions", "answers", "--curves", "curves"),
)
#: Starts two tasks as ``srun`` would on two nodes, in folders of their own; the second is earlier.
_SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
(cd ../other && SLURM_NODEID=1 exec "$@" >log 2>&1) &
sleep 1
SLURM_NODEID=0 "$@" >log 2>&1 || exit 1
wait $!
"""


def launch(folder, *options):
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "stages.launch", *options, *COMMAND],
            cwd=folder,
            stdout=log,
            stderr=log,
        )


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv(launcher.ADDRESS, f"127.0.0.1:{launcher._port_of(os.getpid())}")


@pytest.mark.slow
def test_two_launchers_train_what_two_workers_do(two_workers, tmp_path, address):
    first, other = machines(tmp_path)
    # The one that joins is earlier, so that it would be numbered first.
    joining, leading = launch(other, "--join"), launch(first)
    assert leading.wait(timeout=500) == 0, (first / "log").read_text()
    assert joining.wait(timeout=60) == 0, (other / "log").read_text()
    assert_same(two_workers, first)
    assert not (other / OUTS.model).exists()


@pytest.mark.slow
def test_slurm_starts_the_launchers(two_workers, tmp_path, address, monkeypatch):
    first, other = (
        project(tmp_path / name, launcher="slurm", nodes=2) for name in ("first", "other")
    )
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, script in (("srun", _SRUN), ("scontrol", "#!/bin/sh\necho 127.0.0.1\n")):
        (tools / name).write_text(script)
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.delenv(launcher.ADDRESS)
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    assert launch(first).wait(timeout=500) == 0, (first / "log").read_text()
    assert_same(two_workers, first)
    assert not (other / OUTS.model).exists()
