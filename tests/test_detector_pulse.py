"""Workers that wait for others: as long as these work, and not longer."""

from __future__ import annotations

import os
import signal
import time

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from detector_case import log_of, run_machines, run_workers, start_workers  # noqa: E402

from sam3_angio.detector import pulse, sharing, workers  # noqa: E402
from sam3_angio.errors import AngioError  # noqa: E402


def rank():
    return torch.distributed.get_rank()


def joined(work):
    """Return what a worker does: join the others, with little patience, and work."""

    def joining():
        workers.SILENT_S = pulse.SILENT_S = 8.0
        with workers.joined(timeout_s=2):
            work()

    return joining


def patient(work):
    """Return what a worker does that waits for the others for a quarter of an hour."""

    def joining():
        with workers.joined(timeout_s=45):
            work()

    return joining


def slow_loop():
    for _ in pulse.beating(range(8 if rank() else 0)):
        time.sleep(1)
    values = torch.tensor(1.0)
    sharing.in_all(values)
    assert float(values) == 2


def slow_download():
    if rank():
        with pulse.alive():
            time.sleep(11)
    pulse.all_here()


def silent_after_it_waited():
    if rank():
        time.sleep(1.5)
    pulse.all_here()
    if not rank():
        time.sleep(3)  # longer than one that waits may be silent
    pulse.all_here()


@pytest.mark.parametrize("work", [slow_loop, slow_download, silent_after_it_waited])
def test_a_worker_that_works_is_waited_for(work, tmp_path):
    assert run_workers(joined(work), folder=tmp_path, count=2) == [0, 0], log_of(tmp_path, 0)


def hangs_in_a_loop():
    for number in pulse.beating(range(6 if rank() else 0)):
        time.sleep(60 if number == 4 else 0.5)
    pulse.all_here()


def hangs_elsewhere():
    if rank():
        time.sleep(60)
    pulse.all_here()


@pytest.mark.parametrize(("work", "patience"), [(hangs_in_a_loop, 3), (hangs_elsewhere, 8)])
def test_a_worker_that_hangs_is_named_and_waited_for_no_longer(work, patience, tmp_path):
    waiting, hanging = start_workers(joined(work), folder=tmp_path, count=2)
    begun = time.monotonic()
    assert waiting.wait() == 1
    assert time.monotonic() - begun < 40
    assert f"Worker 1 hangs: the others have waited for it for {patience} s" in log_of(tmp_path, 0)
    os.kill(hanging.pid, signal.SIGKILL)
    assert hanging.wait() == -signal.SIGKILL


def leaves():
    if rank():
        raise AngioError("this is why")
    pulse.all_here()


def is_killed():
    if rank():
        os.kill(os.getpid(), signal.SIGKILL)
    pulse.all_here()


def test_who_waits_for_one_that_left_ends_and_adds_nothing_to_what_it_said(tmp_path):
    begun = time.monotonic()
    assert run_workers(joined(leaves), folder=tmp_path, count=2) == [0, 1]
    assert time.monotonic() - begun < 40
    assert "this is why" in log_of(tmp_path, 1)
    assert not log_of(tmp_path, 0)


@pytest.mark.parametrize(("work", "code"), [(leaves, 1), (is_killed, -signal.SIGKILL)])
def test_one_that_ends_on_another_machine_is_not_waited_for(work, code, tmp_path, monkeypatch):
    monkeypatch.setattr(pulse, "GONE_S", 4.0)
    monkeypatch.setattr(pulse, "_BETWEEN_BREATHS_S", 0.5)
    folders = [tmp_path / "first", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    begun = time.monotonic()
    assert run_machines(patient(work), folders=folders) == [1, code]
    assert time.monotonic() - begun < 40
    assert "Worker 1 ended on another machine" in log_of(folders[0], 0)


def test_alone_nothing_is_waited_for_or_said():
    assert list(pulse.beating("abc")) == ["a", "b", "c"]
    with pulse.alive():
        pulse.all_here()
