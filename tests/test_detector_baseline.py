"""The baseline: it learns, resumes what it was, and answers in the form that is scored."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# Imported here, so that forked workers need not.
import monai.losses  # noqa: E402
import monai.networks.nets  # noqa: E402
from detector_case import (  # noqa: E402
    curve_of,
    forget_training,
    run_workers,
    write_dataset,
    write_params,
)

from sam3_angio.coco import Rle, decode_mask  # noqa: E402
from sam3_angio.detector import baseline  # noqa: E402
from sam3_angio.detector.unet import UNetTraining, confidence  # noqa: E402
from sam3_angio.scoring.predictions import read_predictions  # noqa: E402

MODEL, PREDICTIONS, CURVES = Path("models"), Path("predictions"), Path("curves")


def train() -> None:
    baseline.train_baseline(
        dataset=Path("dataset"), model=MODEL, predictions=PREDICTIONS, curves=CURVES
    )


def small(folder: Path, **changes: object) -> None:
    few = {"epochs": 3, "batch_size": 2, "channels": [4, 8, 16], "val_every": 2}
    write_params(folder, section="train_baseline", workers=1, **{**few, **changes})


@pytest.fixture
def project(tmp_path):
    write_dataset(tmp_path)
    small(tmp_path)
    return tmp_path


def weights_of(project):
    return torch.load(project / MODEL / "checkpoint.pt", weights_only=True)["model"]


def log_of(project):
    return (project / "rank0.log").read_text()


def test_an_interrupted_training_ends_with_the_weights_of_one_that_was_not(project):
    assert run_workers(train, folder=project) == [0], log_of(project)
    weights = weights_of(project)
    results = (project / PREDICTIONS / "results.json").read_bytes()
    forget_training(project)

    def cut_short():
        inner = UNetTraining.end_epoch

        def end_epoch(self, record):
            inner(self, record)
            raise SystemExit(3)

        UNetTraining.end_epoch = end_epoch
        train()

    assert run_workers(cut_short, folder=project) == [3]
    assert not (project / MODEL).exists()
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert "resuming after epoch 1 of 3" in log_of(project)
    assert all(torch.equal(weights[name], value) for name, value in weights_of(project).items())
    assert results == (project / PREDICTIONS / "results.json").read_bytes()
    assert len(curve_of(project / CURVES, "train/loss")) == 3
    panels = sorted(path.name for path in (project / PREDICTIONS / "panel").iterdir())
    assert panels == ["001.png", "002.png"]  # of the validations after epochs 2 and 3
    assert (project / MODEL / "progress.png").stat().st_size > 1000


def test_training_lowers_the_loss_and_finds_the_vessel(tmp_path):
    write_dataset(tmp_path, train=4)
    small(tmp_path, epochs=25, contrast=0, val_every=25, lr=0.01)
    assert run_workers(train, folder=tmp_path) == [0], log_of(tmp_path)
    losses = curve_of(tmp_path / CURVES, "train/loss")
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert curve_of(tmp_path / CURVES, "val/dice_semantic")[-1] > 0.6


def test_the_answers_are_what_the_scores_read(project):
    assert run_workers(train, folder=project) == [0], log_of(project)
    queries = read_predictions(project / PREDICTIONS)
    assert len(queries) == 3
    for query in queries:
        assert (query.category_id, query.phrase) == (1, "coronary artery")
        (instance,) = query.instances
        assert query.semantic == instance.mask
        assert instance.score == query.presence
        assert decode_mask(query.semantic).shape == (64, 64)


def test_the_model_says_how_it_was_made(project):
    assert run_workers(train, folder=project) == [0], log_of(project)
    metadata = json.loads((project / MODEL / "metadata.json").read_text())
    assert metadata["parameters"] == sum(value.numel() for value in weights_of(project).values())
    assert (metadata["workers"], metadata["threads"], metadata["steps"]) == (1, 1, 12)
    assert {"monai", "torch"} <= metadata["versions"].keys()
    assert "monai.networks.nets.UNet" in (project / MODEL / "config.yaml").read_text()


def test_a_loss_that_is_not_finite_stops_with_the_frames_of_the_batch(project):
    def spoilt():
        monai.losses.DiceCELoss.forward = lambda _, answer, __: answer.sum() * math.nan
        train()

    assert run_workers(spoilt, folder=project) == [1]
    told = [line for line in log_of(project).splitlines() if "field 'p0000" in line]
    assert len(told) == 2
    assert "Lower train_baseline.lr" in log_of(project)
    assert not (project / MODEL).exists()


def test_parameters_edited_while_training_are_not_vouched_for(project):
    def edited():
        inner = baseline.write_rows

        def write_and_edit(*arguments):
            inner(*arguments)
            small(project, lr=0.005)

        baseline.write_rows = write_and_edit
        train()

    assert run_workers(edited, folder=project) == [1]
    assert "Changed while the training ran: train_baseline" in log_of(project)
    assert not (project / MODEL).exists()


def test_a_size_that_the_levels_do_not_divide_is_refused(project):
    small(project, channels=[4] * 8)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("resolution: 64", "resolution: 72"))
    assert run_workers(train, folder=project) == [1]
    assert "a multiple of 64, not 72" in log_of(project)


def test_fewer_frames_than_a_step_takes_are_refused(project):
    small(project, batch_size=9)
    assert run_workers(train, folder=project) == [1]
    assert "8 frames are fewer than one step takes, 9" in log_of(project)


def test_the_confidence_is_the_mean_probability_of_what_is_marked():
    # sigmoid(log 3) = 3/4, sigmoid(log 9) = 9/10; the unmarked pixel does not count
    logits = torch.tensor([[math.log(3), -5.0], [math.log(9), -0.1]])
    assert confidence(logits) == pytest.approx((0.75 + 0.9) / 2)
    assert confidence(-logits.abs()) == 0.0


def test_a_mask_of_an_answer_is_run_length_encoded_at_the_frames_size(project):
    assert run_workers(train, folder=project) == [0], log_of(project)
    for result in json.loads((project / PREDICTIONS / "results.json").read_text()):
        rle = result["segmentation"]
        mask = decode_mask(Rle(size=tuple(rle["size"]), counts=rle["counts"]))
        assert mask.shape == (64, 64)
        assert 0 <= result["score"] <= 1
