"""Phase 4 trains on segments and lesions, and answers for both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

import torch  # noqa: E402
from detector_case import (  # noqa: E402
    SIDE_PX,
    run_workers,
    write_findings,
    write_params,
    write_segments,
)

from sam3_angio.detector.build import build  # noqa: E402
from sam3_angio.detector.checkpoint import save_weights  # noqa: E402
from sam3_angio.detector.lesion_training import train_findings  # noqa: E402
from sam3_angio.detector.runtime import prepare as prepare_runtime  # noqa: E402
from sam3_angio.detector.training import Outs  # noqa: E402
from sam3_angio.lesion_labels import LESION_CATEGORY  # noqa: E402
from sam3_angio.phase4_start import StartChoice, StartScores, read_choice  # noqa: E402

OUTS = Outs(
    model=Path("models/phase4"), predictions=Path("predictions/phase4"), curves=Path("curves")
)


def train() -> None:
    train_findings(dataset=Path("dataset"), models=Path("models"), outs=OUTS)


def test_the_training_answers_for_segments_and_lesions(tmp_path: Path) -> None:
    prepare_runtime(threads=1)
    dataset = write_segments(tmp_path)
    write_findings(dataset)
    write_params(tmp_path, section="train_phase4", epochs=1, val_every=1)
    (tmp_path / "models" / "phase2").mkdir(parents=True)
    torch.manual_seed(3)
    save_weights(build("tiny", SIDE_PX), tmp_path / "models" / "phase2" / "checkpoint.pt")
    last = {"val/dice_instance": 0.5, "val/presence_accuracy": 0.75}
    metadata = tmp_path / "models" / "phase2" / "metadata.json"
    metadata.write_text(json.dumps({"last_epoch": last}), encoding="utf-8")
    assert run_workers(train, folder=tmp_path) == [0], (tmp_path / "rank0.log").read_text()
    answers = tmp_path / OUTS.predictions
    queries = json.loads((answers / "queries.json").read_text())
    asked = [query for query in queries if query["category_id"] > LESION_CATEGORY.id]
    phrases = {query["phrase"] for query in asked}
    assert "proximal RCA stenosis" in phrases
    assert all(phrase.endswith(" stenosis") for phrase in phrases)
    assert {query["frame_id"] for query in asked} == {query["frame_id"] for query in queries}
    assert (tmp_path / OUTS.model / "checkpoint.pt").is_file()
    scores = StartScores(dice=0.5, presence_accuracy=0.75)
    expected = StartChoice(start="phase2", asked="auto", scores={"phase2": scores})
    assert read_choice(answers / "choice.json") == expected
