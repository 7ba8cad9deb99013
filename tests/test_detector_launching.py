"""What workers on several machines have in common, and how their launchers find each other."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from detector_case import (  # noqa: E402
    REPOSITORY,
    log_of,
    run_machines,
    set_train,
    write_params,
)

from sam3_angio.config import load_config  # noqa: E402
from sam3_angio.detector import launcher, sharing, workers  # noqa: E402
from sam3_angio.errors import AngioError, ConfigError  # noqa: E402
from sam3_angio.joining import launched_stages  # noqa: E402


def project(folder: Path, *, workers_here: int = 1, **train: object) -> Path:
    folder.mkdir()
    write_params(folder, workers=workers_here)
    set_train(folder, **train)
    return folder


# --- what they have in common ------------------------------------------------------------------


def test_values_and_files_of_the_first_machine_come_to_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "_PIECE_BYTES", 7)
    folders = [tmp_path / name for name in ("first", "other", "third")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "state").write_bytes(bytes(range(100)))
    (folders[1] / "state").write_bytes(b"another")
    (folders[2] / "left").write_bytes(b"of an older training")

    def work():
        with workers.joined(timeout_s=60):
            rank = torch.distributed.get_rank()
            assert sharing.told_by_first(lambda: {"rank": rank}) == {"rank": 0}
            for name in ("state", "left"):
                sharing.on_every_machine(Path(name))
            content = bytes([rank]) * (2 - rank)
            expected = [b"\0\0", b"\1", b""] if rank == 0 else []
            assert sharing.collected(content) == expected

    assert run_machines(work, folders=folders) == [0, 0, 0], log_of(folders[1], 1)
    assert {(folder / "state").read_bytes() for folder in folders} == {bytes(range(100))}
    assert not any((folder / "left").exists() for folder in folders)


def test_a_fault_on_one_machine_is_said_there_and_ends_the_others(tmp_path):
    folders = [tmp_path / name for name in ("first", "other")]
    for folder in folders:
        folder.mkdir()

    def look():
        if torch.distributed.get_rank() == 1:
            raise AngioError("The disk is full.")

    def work():
        with workers.joined(timeout_s=60):
            workers.first_of_each_machine_does(look)

    assert run_machines(work, folders=folders) == [1, 1]
    assert "The training ended on another machine" in log_of(folders[0], 0)
    assert "The disk is full." in log_of(folders[1], 1)


# --- launching ---------------------------------------------------------------------------------


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Return a function that launches, and gives what ``torchrun`` would have been told."""
    told = []
    monkeypatch.setattr("torch.distributed.run.main", told.extend)
    monkeypatch.setenv(launcher.ADDRESS, "127.0.0.1:29999")
    monkeypatch.setenv(launcher.MACHINE, "")

    def launched(*, settings, **options):
        monkeypatch.chdir(project(tmp_path / "project", **settings))
        launcher.launch(["-m", "stages.train_phase1", "--out", "model"], **options)
        return told

    return launched


def test_one_machine_is_the_default(arguments):
    told = arguments(settings={"workers_here": 2})
    assert told == [
        *("--standalone", "--shutdown-timeout=10", "--nproc-per-node=2"),
        *("-m", "stages.train_phase1", "--out", "model"),
    ]
    assert load_config(REPOSITORY / "params.yaml").train.launcher == "standalone"


def test_a_tiny_model_trains_on_the_cpu_where_there_are_fewer_gpus_than_workers(
    arguments, monkeypatch, capsys
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "--nproc-per-node=2" in arguments(settings={"workers_here": 2})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert "2 workers and 1 GPU: training runs on the CPU." in capsys.readouterr().err


@pytest.mark.parametrize(("gpus", "workers_here"), [(0, 2), (2, 2), (1, 1), (4, 2)])
def test_gpus_are_used_where_each_worker_has_one(gpus, workers_here, arguments, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "all of them")
    arguments(settings={"workers_here": workers_here})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "all of them"


def test_a_large_model_is_not_started_with_fewer_gpus_than_workers(arguments, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = load_config(REPOSITORY / "params.yaml")
    large = config.model_copy(
        update={"model": config.model.model_copy(update={"size": "published"})}
    )
    monkeypatch.setattr(launcher, "load_config", lambda: large)
    with pytest.raises(ConfigError, match=r"has 1 GPU: a worker takes one\. Set train\.workers"):
        arguments(settings={})


def test_the_first_machine_waits_where_the_address_says(arguments):
    told = arguments(settings={"launcher": "c10d", "nodes": 3})
    assert told[:3] == ["--nnodes=3", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:29999"]
    assert "is_host=1" in told[4]
    assert os.environ[launcher.MACHINE] == "first"


@pytest.mark.parametrize("value", ["", "node1", "node1:", ":29400", "node1:x", "node1:70000"])
def test_an_address_that_is_none_is_refused_with_an_example(value, arguments, monkeypatch):
    monkeypatch.setenv(launcher.ADDRESS, value)
    with pytest.raises(ConfigError, match="such as 192.168.1.10:29400"):
        arguments(settings={"launcher": "c10d", "nodes": 2})


def test_joining_a_training_of_one_machine_is_refused(arguments):
    with pytest.raises(ConfigError, match="Set it to 'c10d'"):
        arguments(settings={}, joins=True)


def test_more_nodes_need_a_launcher_that_starts_them(tmp_path):
    folder = project(tmp_path / "project", nodes=2)
    with pytest.raises(ConfigError) as caught:
        load_config(folder / "params.yaml")
    assert "launcher 'standalone' starts no 2 nodes; c10d, slurm do" in str(caught.value)


def test_slurm_outside_of_a_job_or_in_one_of_another_size_is_refused(arguments, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ConfigError, match="this is no Slurm job"):
        arguments(settings={"launcher": "slurm", "nodes": 2})
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "3")
    with pytest.raises(ConfigError, match=r"has 3 machines, train\.nodes is 2"):
        launcher.launch(["-m", "stages.train_phase1"])


def test_another_machine_is_given_the_commands_of_the_pipeline():
    stages = launched_stages(REPOSITORY / "dvc.yaml", [])
    assert list(stages) == [f"train_phase{number}" for number in (1, 2, 3, 4)]
    assert stages["train_phase1"][:6] == [
        *(sys.executable, "-m", "stages.launch", "--join"),
        *("-m", "stages.train_phase1"),
    ]
    assert list(launched_stages(REPOSITORY / "dvc.yaml", ["train_phase3"])) == ["train_phase3"]
    with pytest.raises(ConfigError, match="No stage that trains is called evaluate"):
        launched_stages(REPOSITORY / "dvc.yaml", ["evaluate"])
