"""Phase 4's data and questions: segments and lesions together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_convert import Converted
from test_lesion_labels import work  # noqa: F401 - a fixture

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.coco import ImageEntry, load_document
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.lesion_prompts import WithLesions
from sam3_angio.phase4_start import (
    StartChoice,
    StartScores,
    best_start,
    choose_start,
    read_choice,
    write_choice,
)
from sam3_angio.prompts import AllQuestions, TrainingQuestions
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
    for phrase, said, category in (
        ("stenosis", "stenosis", 100),
        ("{segment} stenosis", "mid LAD stenosis", 113),
    ):
        with_lesions = WithLesions(plain, phrase=phrase)
        for annotated in ({13}, {13, 100}):
            *others, lesion = with_lesions(IMAGE, annotated, 2)
            assert tuple(others) == plain(IMAGE, {13}, 2)
            assert (lesion.phrase, lesion.category_id) == (said, category)
            assert lesion.answer_category == 100
            assert lesion.certain


def test_the_predictions_ask_for_the_lesions_of_the_artery() -> None:
    plain = AllQuestions(asked="analysed", wrong=("wug",))
    everything = WithLesions(plain, phrase="{segment} stenosis", asked="analysed")
    prompts = everything(IMAGE, {13, 100}, 0)
    own = {number for number in analysed_segments() if segments()[number].artery == "LCA"}
    lesions = [prompt for prompt in prompts if prompt.category_id > 100]
    assert len(prompts) == 15 + len(lesions)
    assert {prompt.category_id - 100 for prompt in lesions} == own
    answered = [prompt.category_id for prompt in lesions if prompt.answer_category == 100]
    assert answered == [113]
    assert len(WithLesions(plain, phrase="stenosis", asked="analysed")(IMAGE, {13}, 0)) == 16


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


def test_the_start_is_the_model_that_draws_the_named_segment_best() -> None:
    better = StartScores(dice=0.7, presence_accuracy=0.8)
    surer = StartScores(dice=0.7, presence_accuracy=0.9)
    worse = StartScores(dice=0.6, presence_accuracy=1.0)
    assert best_start({"phase2": better, "none": worse}) == "phase2"
    assert best_start({"phase2": better, "none": surer}) == "none"
    assert best_start({"phase2": better, "none": better}) == "phase2"


def _trained(folder: Path, **scores: float) -> None:
    folder.mkdir(parents=True)
    last = {f"val/{name}": value for name, value in scores.items()}
    (folder / "metadata.json").write_text(json.dumps({"last_epoch": last, "steps": 3}))


def test_the_choice_rests_on_what_the_trainings_recorded(tmp_path: Path) -> None:
    _trained(tmp_path / "phase2", dice_instance=0.5, presence_accuracy=0.9, loss=3.0)
    assert choose_start("auto", tmp_path).start == "phase2"
    _trained(tmp_path / "phase3/none", dice_instance=0.6, presence_accuracy=0.8)
    choice = choose_start("auto", tmp_path)
    assert choice.start == "none"
    assert choice.scores["phase2"] == StartScores(dice=0.5, presence_accuracy=0.9)
    assert choose_start("phase2", tmp_path).start == "phase2"


def test_a_model_without_validation_scores_is_refused(tmp_path: Path) -> None:
    _trained(tmp_path / "phase2", dice_instance=0.5)
    with pytest.raises(DataError, match="presence_accuracy"):
        choose_start("auto", tmp_path)


def test_without_any_model_there_is_no_start() -> None:
    with pytest.raises(ConfigError, match="Phase 2"):
        best_start({})


def test_the_choice_is_read_as_it_was_written(tmp_path: Path) -> None:
    scores = StartScores(dice=0.8, presence_accuracy=0.9)
    choice = StartChoice(start="none", asked="auto", scores={"none": scores})
    write_choice(tmp_path / "start.json", choice)
    assert read_choice(tmp_path / "start.json") == choice
    assert choice.folder == "phase3/none"
