"""Phase 4 trains on segments and lesions, and answers for both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch

import torch  # noqa: E402
from detector_case import SIDE_PX, run_workers, write_params, write_segments  # noqa: E402

from sam3_angio.coco import Document, annotate, decode_mask, load_document, write_document  # noqa: E402
from sam3_angio.detector.build import build  # noqa: E402
from sam3_angio.detector.checkpoint import save_weights  # noqa: E402
from sam3_angio.detector.lesion_training import train_findings  # noqa: E402
from sam3_angio.detector.runtime import prepare as prepare_runtime  # noqa: E402
from sam3_angio.detector.training import Outs  # noqa: E402
from sam3_angio.lesion_labels import LESION_CATEGORY  # noqa: E402
from sam3_angio.phase4_start import StartChoice, StartScores, read_choice  # noqa: E402
from sam3_angio.split import merge_findings  # noqa: E402

OUTS = Outs(
    model=Path("models/phase4"), predictions=Path("predictions/phase4"), curves=Path("curves")
)


def write_findings(dataset: Path) -> None:
    """Give every other frame a lesion: the middle third of its segment."""
    for split in ("train", "val"):
        segments = load_document(dataset / split / "segments" / "annotations.json")
        middle = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
        third = slice(SIDE_PX // 3, 2 * SIDE_PX // 3)
        middle[third, :] = middle[:, third] = True
        lesions = Document(
            images=segments.images,
            annotations=tuple(
                annotate(
                    decode_mask(mark.segmentation) & middle,
                    annotation_id=mark.image_id,
                    image_id=mark.image_id,
                    category_id=LESION_CATEGORY.id,
                    phrase=LESION_CATEGORY.name,
                )
                for mark in segments.annotations
                if mark.image_id % 2
            ),
            categories=(LESION_CATEGORY,),
        )
        path = dataset / split / "findings" / "annotations.json"
        write_document(path, merge_findings(segments, lesions))


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
