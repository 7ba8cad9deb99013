"""What only a CUDA device shows; skipped where there is none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

from detector_case import REPOSITORY, curve_of, set_train, write_dataset, write_params  # noqa: E402

STAGE = [
    *("-m", "stages.launch", "-m", "stages.train_phase1", "--dataset", "dataset"),
    *("--out", "model", "--predictions", "predictions", "--curves", "curves"),
]


def project(root: Path, *, train: dict[str, Any], phase: dict[str, Any]) -> Path:
    root.mkdir()
    write_dataset(root, train=8, val=2)
    write_params(root, workers=1, contrast=0, rotation_deg=0, **phase)
    set_train(root, timeout_s=120, **train)
    return root


def started(root: Path, **variables: str) -> subprocess.Popen[bytes]:
    folders = os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, *STAGE],
        cwd=root,
        env={**os.environ, "PYTHONPATH": folders, **variables},
        stdout=(root / "log").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def trained(root: Path, **variables: str) -> dict[str, Any]:
    """Run the stage to its end; return what it says of the model."""
    assert started(root, **variables).wait(timeout=300) == 0, (root / "log").read_text()[-3000:]
    return json.loads((root / "model" / "metadata.json").read_text())


def curve(root: Path, name: str) -> list[float]:
    return curve_of(root / "curves", name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = project(tmp_path_factory.mktemp("plain") / "run", train={}, phase={"epochs": 6})
    assert trained(root)["device"] == "cuda"
    return root


def test_a_stage_trains_on_the_gpu_and_its_loss_falls(plain):
    losses = curve(plain, "train/loss")
    assert losses[-1] < 0.8 * losses[0]


def test_the_first_epoch_is_that_of_the_processor(plain, tmp_path):
    root = project(tmp_path / "cpu", train={}, phase={"epochs": 6})
    assert trained(root, CUDA_VISIBLE_DEVICES="")["device"] == "cpu"
    for name in ("loss", "mask_dice", "classification", "grad_norm"):
        here, there = curve(plain, f"train/{name}")[0], curve(root, f"train/{name}")[0]
        assert here == pytest.approx(there, rel=0.02), name


@pytest.mark.parametrize(
    "train",
    [
        {"precision": "bfloat16"},
        {"optimizer": "adamw8bit"},
        {"recompute": True},
        {"parts": 2},
        {"precision": "bfloat16", "optimizer": "adamw8bit", "recompute": True, "lora_rank": 4},
    ],
    ids="+".join,
)
def test_each_saving_trains_as_well(plain, tmp_path, train):
    root = project(tmp_path / "run", train=train, phase={"epochs": 6})
    trained(root)
    losses = curve(root, "train/loss")
    assert losses[-1] < 0.8 * losses[0]
    if "lora_rank" not in train:
        assert losses[0] == pytest.approx(curve(plain, "train/loss")[0], rel=0.05)


def test_the_text_encoder_trains_with_activations_computed_again(tmp_path):
    savings = {"precision": "bfloat16", "recompute": True}
    root = project(tmp_path / "run", train=savings, phase={"epochs": 6, "freeze_text": False})
    trained(root)
    losses = curve(root, "train/loss")
    assert losses[-1] < 0.8 * losses[0]


def test_a_killed_training_goes_on_to_the_same_end(plain, tmp_path):
    root = project(tmp_path / "run", train={}, phase={"epochs": 6})
    process, deadline = started(root), time.monotonic() + 200
    while not list(root.glob("runs/phase1/*/state/checkpoint.pt")):
        assert process.poll() is None, (root / "log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (root / "model").exists()
    trained(root)
    whole, resumed = curve(plain, "train/loss"), curve(root, "train/loss")
    assert len(resumed) == len(whole) == 6
    assert resumed[-1] == pytest.approx(whole[-1], rel=0.05)
