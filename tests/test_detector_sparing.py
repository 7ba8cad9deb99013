"""Settings that spare memory, in a whole training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# Imported here, so that forked workers need not.
import fvcore.common.param_scheduler  # noqa: E402, F401
from detector_case import curve_of, run_workers, set_train, write_dataset, write_params  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.training import TREE, Outs, session, train_phase  # noqa: E402

OUTS = Outs(model=Path("model"), predictions=Path("predictions"), curves=Path("curves"))


def train() -> None:
    with session():
        train_phase(TREE, dataset=Path("dataset"), outs=OUTS)


def trained(root, phase, **settings):
    """Train in a fresh folder with some settings of ``train``; return the folder."""
    root.mkdir()
    write_dataset(root, train=4, val=1)
    write_params(root, contrast=0, **phase)
    set_train(root, **settings)
    assert run_workers(train, folder=root) == [0], (root / "rank0.log").read_text()
    return root


def first_epoch(root, name):
    return curve_of(root / "curves", f"train/{name}")[0]


def test_a_step_in_two_parts_has_the_loss_and_the_gradient_of_one_in_one(tmp_path):
    # One step of all frames, so that the curves' first point is before any weight changed.
    phase = {"epochs": 1, "batch_size": 4}
    whole = trained(tmp_path / "whole", phase)
    parts = trained(tmp_path / "parts", phase, parts=2)
    for name in ("loss", "grad_norm", "mask_dice", "classification"):
        assert first_epoch(parts, name) == pytest.approx(first_epoch(whole, name), rel=1e-3), name


def test_all_savings_together_train_and_publish_a_stock_model(tmp_path):
    settings = {
        "precision": "bfloat16",
        "optimizer": "adamw8bit",
        "parts": 2,
        "recompute": True,
        "lora_rank": 2,
    }
    root = trained(tmp_path / "run", {"epochs": 2, "batch_size": 2}, **settings)
    weights = torch.load(root / "model" / "checkpoint.pt", weights_only=True)["model"]
    assert weights.keys() == build.build("tiny", 64).state_dict().keys()
    assert all(
        value.dtype == torch.float32 for value in weights.values() if value.is_floating_point()
    )
    metadata = json.loads((root / "model" / "metadata.json").read_text())
    assert metadata["steps"] == 2 * 2 * 2  # parts count, as in sam3's own trainer
    assert 0 < metadata["parameters_trained"] < metadata["parameters"]


@pytest.mark.slow  # half a minute
def test_a_training_with_moments_of_8_bits_has_the_curve_of_one_with_32(tmp_path):
    phase = {"epochs": 4, "batch_size": 1}
    last = {}
    for kind in ("adamw", "adamw8bit"):
        root = trained(tmp_path / kind, phase, optimizer=kind)
        values = curve_of(root / "curves", "train/loss")
        assert values[-1] < 0.9 * values[0]
        last[kind] = values[-1]
    assert last["adamw8bit"] != last["adamw"]
    assert last["adamw8bit"] == pytest.approx(last["adamw"], rel=0.05)
