"""A training: it learns, resumes what it was, and publishes only what was asked for."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# Imported here, so that forked workers need not.
import fvcore.common.param_scheduler  # noqa: E402, F401
from detector_case import (  # noqa: E402
    SIDE_PX,
    curve_of,
    forget_training,
    run_workers,
    set_model,
    start_workers,
    write_dataset,
    write_params,
)

from sam3_angio.coco import Rle, decode_mask, mask_box  # noqa: E402
from sam3_angio.detector.build import build_model, model_spec  # noqa: E402
from sam3_angio.detector.checkpoint import load_weights, save_weights  # noqa: E402
from sam3_angio.detector.training import TREE, Outs, session, train_phase  # noqa: E402
from sam3_angio.pictures import pack_pictures  # noqa: E402

OUTS = Outs(
    model=Path("models/phase1"), predictions=Path("predictions/phase1"), curves=Path("curves")
)


def train() -> None:
    with session():
        train_phase(TREE, dataset=Path("dataset"), outs=OUTS)


@pytest.fixture
def project(tmp_path):
    write_dataset(tmp_path)
    write_params(tmp_path)
    return tmp_path


def weights_of(project):
    return torch.load(project / OUTS.model / "checkpoint.pt", weights_only=True)["model"]


def metadata_of(project):
    return json.loads((project / OUTS.model / "metadata.json").read_text())


def results_of(project):
    return (project / OUTS.predictions / "results.json").read_bytes()


def log_of(project, rank=0):
    return (project / f"rank{rank}.log").read_text()


def same_weights(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def state_file(project):
    return next((project / "runs" / "phase1").glob("*/state/checkpoint.pt"), None)


def kill_after_first_checkpoint(project, count):
    workers = start_workers(train, folder=project, count=count)
    while state_file(project) is None:
        assert os.waitpid(workers[0].pid, os.WNOHANG) == (0, 0), log_of(project)
        time.sleep(0.02)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    assert [worker.wait() for worker in workers] == [-signal.SIGKILL] * count


def test_a_training_that_was_killed_ends_with_the_weights_of_one_that_was_not(project):
    assert run_workers(train, folder=project) == [0], log_of(project)
    weights, results = weights_of(project), results_of(project)
    forget_training(project)
    kill_after_first_checkpoint(project, count=1)
    assert not (project / OUTS.model).exists()
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert "resuming after epoch" in log_of(project)
    assert same_weights(weights, weights_of(project))
    assert results == results_of(project)
    curve = (project / "curves/plots/metrics/train/loss.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in curve] == ["step", "0", "1", "2"]
    panels = sorted(path.name for path in (project / OUTS.predictions / "panel").iterdir())
    assert panels == ["001.png", "002.png"]  # of the validations after epochs 2 and 3
    assert (project / OUTS.model / "progress.png").stat().st_size > 1000


@pytest.mark.slow  # half a minute
def test_pictures_in_archives_train_the_same_model(project):
    assert run_workers(train, folder=project) == [0], log_of(project)
    weights, results = weights_of(project), results_of(project)
    forget_training(project)
    for split in ("train", "val"):
        images = project / "dataset" / split / "images"
        names = sorted(path.name for path in images.iterdir())
        pack_pictures(images, {name: name.split("-")[0] for name in names}, 2)
        assert all(path.suffix == ".zip" for path in images.iterdir())
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert same_weights(weights, weights_of(project))
    assert results == results_of(project)


@pytest.mark.slow
def test_a_changed_parameter_starts_afresh(project):
    kill_after_first_checkpoint(project, count=1)
    write_params(project, lr=0.0005)
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert "resuming" not in log_of(project)
    assert len(list((project / "runs" / "phase1").iterdir())) == 2


def test_two_workers_answer_each_query_once_and_share_their_weights(project):
    assert run_workers(train, folder=project, count=2) == [0, 0], log_of(project)
    queries = json.loads((project / OUTS.predictions / "queries.json").read_text())
    assert [query["image_id"] for query in queries] == [9, 10, 11]
    assert [query["query_id"] for query in queries] == [1, 2, 3]
    for query in queries:
        assert set(query) == {
            "query_id",
            "image_id",
            "frame_id",
            "category_id",
            "phrase",
            "asked",
            "presence",
        }
        assert (query["category_id"], query["phrase"]) == (1, "coronary artery")
        assert 0 <= query["presence"] <= 1
    metadata = metadata_of(project)
    assert (metadata["workers"], metadata["threads"], metadata["steps"]) == (2, 1, 6)
    _assert_results_keep_the_contract(json.loads(results_of(project)), queries)


def _assert_results_keep_the_contract(results, queries):
    presence = {query["query_id"]: query["presence"] for query in queries}
    for query_id in presence:
        kinds = [result["kind"] for result in results if result["query_id"] == query_id]
        assert kinds == ["instance", "instance", "semantic"]
    for result in results:
        mask = decode_mask(
            Rle(size=tuple(result["segmentation"]["size"]), counts=result["segmentation"]["counts"])
        )
        assert mask.shape == (64, 64)
        assert result["bbox"] == list(mask_box(mask))
        if result["kind"] == "semantic":
            assert result["score"] == presence[result["query_id"]]
        else:
            assert 0 <= result["score"] <= presence[result["query_id"]]


def test_published_weights_load_strictly_into_the_published_configuration(project):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    assert run_workers(train, folder=project) == [0], log_of(project)
    config = OmegaConf.load(project / OUTS.model / "config.yaml")
    model = instantiate(config.trainer.model)
    load_weights(model, project / OUTS.model / "checkpoint.pt")
    assert metadata_of(project)["parameters"] == sum(w.numel() for w in model.parameters())


def test_training_lowers_the_loss(tmp_path):
    write_dataset(tmp_path, train=4)
    write_params(tmp_path, epochs=12, contrast=0, val_every=12)
    assert run_workers(train, folder=tmp_path) == [0], log_of(tmp_path)
    losses = curve_of(tmp_path / "curves", "train/loss")
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])


def test_parameters_edited_while_training_are_not_vouched_for(project):
    def train_and_edit():
        from sam3_angio.detector import training

        inner = training._predict

        def edited(*arguments):
            inner(*arguments)
            write_params(project, lr=0.005)

        training._predict = edited
        train()

    assert run_workers(train_and_edit, folder=project) == [1]
    assert "Changed while the training ran: train_phase1" in log_of(project)
    assert not (project / OUTS.model).exists()


def test_a_loss_that_is_not_finite_stops_with_the_frames_of_the_batch(project):
    def spoilt():
        from sam3.train.loss.loss_fns import Boxes

        def broken(self, **_):
            return {name: torch.tensor(float("nan")) for name in self.weight_dict}

        Boxes.get_loss = broken
        train()

    assert run_workers(spoilt, folder=project) == [1]
    told = [line for line in log_of(project).splitlines() if "field 'p0000" in line]
    assert len(told) == 2
    assert not (project / OUTS.model).exists()


def test_a_machine_that_cannot_finish_a_training_is_told_before_it_begins(project, monkeypatch):
    from dataclasses import replace

    from sam3_angio.detector import training

    looked = training.this_machine
    monkeypatch.setattr(training, "this_machine", lambda work: replace(looked(work), disk_bytes=1))
    assert run_workers(train, folder=project, count=2) == [1, 0]
    assert "Phase 1 cannot run on this machine" in log_of(project)
    assert not list((project / "runs").glob("p*"))  # neither prepared frames nor a run


def test_weights_that_do_not_fit_are_told_in_the_same_table_before_anything_is_made(project):
    own = build_model(model_spec("tiny", SIDE_PX))
    save_weights(own, project / "own.pt")
    whole = (project / "own.pt").read_bytes()
    (project / "own.pt").write_bytes(whole[: len(whole) // 2])
    write_params(project, batch_size=5)
    set_model(project, checkpoint="own.pt")
    assert run_workers(train, folder=project, count=2) == [1, 0]
    assert "weights, Phase 1: own.pt is not a readable file of weights." in log_of(project)
    assert "frames, Phase 1: 8 frames are fewer than one step takes, 10." in log_of(project)
    assert not list((project / "runs").glob("p*"))


def test_what_killed_processes_were_writing_is_not_counted_against_the_disk(project, monkeypatch):
    from sam3_angio.detector import training

    left = project / "runs" / "prepared" / ".0123-64.1.tmp"
    left.mkdir(parents=True)

    def looked(work):
        assert not left.exists()
        raise SystemExit(3)

    monkeypatch.setattr(training, "this_machine", looked)
    assert run_workers(train, folder=project) == [3], log_of(project)


def test_a_second_training_is_refused_while_one_runs(project, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr("sam3_angio.detector.workers._LOCK_PATIENCE_S", 0.1)
    (project / "runs").mkdir()
    with FileLock(project / "runs" / "training.lock"):
        assert run_workers(train, folder=project) == [1]
    assert "Another training is running" in log_of(project)


def test_a_data_set_smaller_than_a_step_is_refused(tmp_path):
    write_dataset(tmp_path, train=3)
    write_params(tmp_path, batch_size=4)
    assert run_workers(train, folder=tmp_path) == [1]
    assert "3 frames are fewer than one step takes" in log_of(tmp_path)


def test_a_worker_that_fails_takes_the_others_down_with_one_message(project):
    (project / "dataset/val/vessel_tree/annotations.json").write_text("{}")
    assert run_workers(train, folder=project, count=2) == [1, 0]
    assert "annotations.json" in log_of(project, rank=0)
    assert "annotations.json" not in log_of(project, rank=1)
