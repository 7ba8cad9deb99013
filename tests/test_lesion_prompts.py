"""Phase 4's data and questions: segments and lesions together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_convert import Converted
from test_lesion_labels import work  # noqa: F401 - a fixture

from sam3_angio.coco import ImageEntry, load_document
from sam3_angio.errors import ConfigError
from sam3_angio.lesion_prompts import LESION_PROMPT, WithLesions
from sam3_angio.phase4_start import StartChoice, StartScores, read_choice, write_choice
from sam3_angio.prompts import AllQuestions, TrainingQuestions
from sam3_angio.scoring.start_choice import best_start
from sam3_angio.split import merge_findings

IMAGE = ImageEntry(
    id=1,
    file_name="a.png",
    width=8,
    height=8,
    frame_id="a",
    patient="p",
    artery="LCA",
    cass_segment=13,
    primary_deg=0.0,
    secondary_deg=0.0,
    spacing_row_mm=None,
    spacing_column_mm=None,
)


def test_every_frame_is_asked_for_its_lesion_and_negatives_stay_as_they_were() -> None:
    plain = TrainingQuestions(
        asked="analysed",
        policy="similar",
        per_image=3,
        phrases=("rib",),
        phrases_per_image=1,
        seed=1,
    )
    with_lesions = WithLesions(plain)
    for annotated in ({13}, {13, 100}):
        prompts = with_lesions(IMAGE, annotated, 2)
        assert prompts[:-1] == plain(IMAGE, {13}, 2)
        assert prompts[-1] == LESION_PROMPT


def test_the_predictions_ask_for_everything() -> None:
    prompts = WithLesions(AllQuestions(asked="analysed", wrong=("wug",)))(IMAGE, {13}, 0)
    assert len(prompts) == 16
    assert {prompt.category_id for prompt in prompts} >= {0, 13, 100}


def test_findings_hold_the_frames_of_which_both_are_known(work: Converted) -> None:  # noqa: F811
    work.run()
    segments = load_document(work.out / "segments.json")
    lesions = load_document(work.out / "lesions.json")
    merged = merge_findings(segments, lesions)
    assert [image.id for image in merged.images] == [image.id for image in lesions.images]
    assert sorted(mark.category_id for mark in merged.annotations if mark.category_id == 100) == [
        100
    ]
    assert len(merged.annotations) == 3
    assert len({mark.id for mark in merged.annotations}) == 3
    kept = {mark.id: mark for mark in merged.annotations}
    assert all(kept.get(mark.id, mark) == mark for mark in segments.annotations)


def test_a_segment_without_a_label_keeps_its_frame_out(work: Converted) -> None:  # noqa: F811
    work.run()
    segments = load_document(work.out / "segments.json")
    lesions = load_document(work.out / "lesions.json")
    without = replace(segments, annotations=())
    assert merge_findings(without, lesions).images == ()


def test_the_start_is_the_model_that_names_best() -> None:
    better = StartScores(top1=0.8, dice=0.7, frames=80)
    finer = StartScores(top1=0.8, dice=0.75, frames=80)
    worse = StartScores(top1=0.7, dice=0.9, frames=80)
    assert best_start({"phase2": better, "none": worse}) == "phase2"
    assert best_start({"phase2": better, "none": finer}) == "none"
    assert best_start({"phase2": better, "none": better}) == "phase2"


def test_without_any_model_there_is_no_start() -> None:
    with pytest.raises(ConfigError, match="Phase 2"):
        best_start({})


def test_the_choice_is_read_as_it_was_written(tmp_path: Path) -> None:
    scores = StartScores(top1=0.8, dice=None, frames=80)
    choice = StartChoice(start="none", asked="auto", scores={"none": scores})
    write_choice(tmp_path / "start.json", choice)
    assert read_choice(tmp_path / "start.json") == choice
    assert choice.folder == "phase3/none"
