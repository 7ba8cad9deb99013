"""From files to the frame that is analysed, and from answers to findings; nothing needs a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_case import run_file
from xa_files import LOSSLESS, pictures, write_run, xa_bytes, xa_dataset

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.analysis.findings import Rules, lesion_findings, segment_findings, tree_finding
from sam3_angio.analysis.inputs import find_runs, pseudonym
from sam3_angio.analysis.run_frame import read_run_frame
from sam3_angio.coco import encode_mask
from sam3_angio.detector.found import PhraseAnswer, ScoredMask
from sam3_angio.dicom import read_frame
from sam3_angio.dicom.display import display_8bit
from sam3_angio.dicom.picture import PictureSettings
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.lesion_prompts import lesion_prompts
from sam3_angio.prompts import Prompt, segment_prompt
from sam3_angio.scoring.answers import SaidRule, heads_agreement
from sam3_angio.scoring.cases import TreeCase
from sam3_angio.scoring.predictions import Instance, Query
from sam3_angio.scoring.tree import tree_mask

(ANY_LESION,) = lesion_prompts("stenosis", ())
RULES = Rules(tree_from="semantic", segment_from="semantic", threshold=0.5, agreement=0.0)
DISPLAY = PictureSettings(percentile_low=0.5, percentile_high=99.5)
SCALE = PixelSpacing(row_mm=0.2, column_mm=0.2, source="sod_sid")
NO_SCALE = PixelSpacing(row_mm=float("nan"), column_mm=float("nan"), source="none")
UIDS = {
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.2",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.3",
}


def _frame(path, wanted=None):
    return read_run_frame(path, name="run 1 of 1", wanted=wanted, settings=DISPLAY)


# ---- files ---------------------------------------------------------------------------------------


def test_folders_are_searched_and_what_is_no_run_is_left_out(tmp_path):
    study = tmp_path / "study" / "series"
    study.mkdir(parents=True)
    bare = write_run(study / "IM0001", pictures(frames=1), 8)
    named = study / "broken.dcm"
    named.write_bytes(b"no DICOM")
    write_run(study / "DICOMDIR", pictures(frames=1), 8)
    (study / "notes.txt").write_text("nothing")
    out = tmp_path / "study" / "results"
    out.mkdir()
    write_run(out / "segmentation.dcm", pictures(frames=1), 8)
    assert find_runs([tmp_path / "study"], out) == (bare, named)


def test_a_file_that_is_met_twice_is_analysed_once_in_the_order_given(tmp_path):
    first = write_run(tmp_path / "b.dcm", pictures(frames=1), 8)
    second = write_run(tmp_path / "a.dcm", pictures(frames=1), 8)
    assert find_runs([first, tmp_path], tmp_path / "out") == (first, second)


def test_missing_inputs_are_named_by_position_alone(tmp_path):
    run_file(tmp_path)
    with pytest.raises(ConfigError) as raised:
        find_runs([tmp_path / "Doe John.dcm", tmp_path, tmp_path / "Roe"], tmp_path / "out")
    assert [fault.file for fault in raised.value.faults] == ["input 1", "input 3"]
    assert "Doe" not in str(raised.value)


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no DICOM file"):
        find_runs([tmp_path], tmp_path / "out")


def test_the_name_depends_on_the_content_alone(tmp_path):
    one = write_run(tmp_path / "Doe.dcm", pictures(seed=0), 8)
    same = write_run(tmp_path / "Roe.dcm", pictures(seed=0), 8)
    other = write_run(tmp_path / "x.dcm", pictures(seed=1), 8)
    names = [pseudonym(path, position="run 1") for path in (one, same, other)]
    assert names[0] == names[1] != names[2]
    with pytest.raises(DataError, match="run 4: the file cannot be read"):
        pseudonym(tmp_path / "Poe.dcm", position="run 4")


# ---- the frame -----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_the_picture_is_what_extract_makes_in_each_transfer_syntax(tmp_path, syntax):
    path = write_run(tmp_path / "run.dcm", pictures(bits=8), 8, syntax, **UIDS)
    frame = _frame(path, wanted=3)
    expected = display_8bit(read_frame(path, 3, name="run"), 0.5, 99.5)
    np.testing.assert_array_equal(frame.picture, expected)
    assert (frame.index, frame.reason, frame.view) == (3, "given", None)


def test_the_same_frame_is_chosen_whichever_way_the_run_is_stored(tmp_path):
    runs = pictures(frames=9)
    runs[0] = 180  # before the contrast
    path = write_run(tmp_path / "a.dcm", runs, 8, **UIDS)
    inverse = write_run(
        tmp_path / "b.dcm", 255 - runs, 8, PhotometricInterpretation="MONOCHROME1", **UIDS
    )
    one, other = _frame(path), _frame(inverse)
    assert one.index == other.index
    assert abs(one.picture.astype(int) - other.picture).max() <= 1


@pytest.mark.parametrize("wanted", [-1, 6])
def test_a_frame_that_the_run_has_not_is_refused(tmp_path, wanted):
    with pytest.raises(DataError, match=f"no frame {wanted}; the run has 6") as raised:
        _frame(run_file(tmp_path), wanted=wanted)
    assert "Planted" not in str(raised.value)


def test_the_heart_phase_of_an_ecg_curve_decides(tmp_path):
    run = pictures(frames=6)
    run[0] = 180  # before the contrast
    dataset = xa_dataset(run, 8, FrameTime="400", **UIDS)
    free = _frame(write_run(tmp_path / "free.dcm", run, 8, FrameTime="400", **UIDS))
    beat_frame = 2 if free.index != 2 else 4
    # R waves 0.8 s apart, at one frame of two.
    seconds = np.arange(1200) / 500
    away = (seconds - 0.4 * beat_frame + 0.4) % 0.8 - 0.4
    curve = np.rint(1000 * np.exp(-((away / 0.01) ** 2))).astype("<i2")
    dataset.add_new((0x5000, 0x0020), "CS", "ECG")
    dataset.add_new((0x5000, 0x0103), "US", 1)
    dataset.add_new((0x5000, 0x3000), "OW", curve.tobytes())
    path = tmp_path / "run.dcm"
    path.write_bytes(xa_bytes(dataset))
    found = _frame(path)
    assert (found.index - beat_frame) % 2 == 0
    assert "ECG" in found.reason


def test_a_heart_phase_that_is_no_number_leaves_the_choice_to_the_pixels(tmp_path):
    path = run_file(tmp_path)
    plain = _frame(path)
    content = path.read_bytes()
    # An explicit DS element "FrameTime" in front of the positioner's and image's groups.
    element = b"\x18\x00\x63\x10DS\x04\x00abc "
    at = content.index(b"\x20\x00\x0d\x00UI")
    path.write_bytes(content[:at] + element + content[at:])
    assert _frame(path).index == plain.index


# ---- findings ------------------------------------------------------------------------------------


def _answer(prompt, presence, mask, instances=()):
    scored = tuple(ScoredMask(score=score, mask=own) for score, own in instances)
    return PhraseAnswer(prompt=prompt, presence=presence, instances=scored, semantic=mask)


def _vessel():
    """Return a picture of a vessel that is 3 mm wide and 1.5 mm at its middle, and a rough mask."""
    y, x = np.mgrid[:96, :160] * 0.2
    half = 1.5 - 0.75 * np.exp(-(((x - 16) / 2.0) ** 2))
    thickness = 2 * np.sqrt(np.maximum(half**2 - (y - 9.6) ** 2, 0))
    inside = (x > 2) & (x < 30)
    picture = 200 * np.exp(-0.25 * thickness * inside)
    mask = (np.abs(y - 9.6) < 1.6) & inside
    noise = np.random.default_rng(0).normal(0, 1.5, y.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8), mask


def test_segments_are_those_that_are_said_to_be_there_by_number_and_measured():
    picture, mask = _vessel()
    empty = np.zeros_like(mask)
    short = mask.copy()
    short[:, :110] = False
    answers = [
        _answer(segment_prompt(13), 0.5, short),
        _answer(segment_prompt(12), 0.9, mask),
        _answer(segment_prompt(14), 0.49, mask),
        _answer(segment_prompt(1), 0.99, empty),
        _answer(ANY_LESION, 0.99, mask),
    ]
    found = segment_findings(answers, picture, SCALE, RULES)
    assert [(one.cass, one.score) for one in found] == [(12, 0.9), (13, 0.5)]
    qca = found[0].qca
    assert qca.mld_mm == pytest.approx(1.5, abs=0.2)
    assert qca.rvd_mm == pytest.approx(3.0, abs=0.3)
    assert len(qca.lesions) == 1


def test_a_vessel_with_several_names_gets_the_surest():
    picture, mask = _vessel()
    half = mask.copy()
    half[:, :74] = False  # a little over half of the vessel
    other = np.roll(mask, 30, axis=0)
    answers = [
        _answer(segment_prompt(cass), presence, own)
        for cass, presence, own in (
            (12, 0.7, mask), (13, 0.9, mask), (14, 0.6, half), (15, 0.8, mask), (18, 0.5, other),
        )
    ]  # fmt: skip
    found = segment_findings(answers, picture, NO_SCALE, RULES)
    assert [(one.cass, one.rivals) for one in found] == [(13, (15, 12, 14)), (18, ())]


def test_without_a_scale_or_a_vessel_nothing_is_measured():
    picture, mask = _vessel()
    dot = np.zeros_like(mask)
    dot[5, 5] = True
    whole, speck = (_answer(segment_prompt(12), 0.9, part) for part in (mask, dot))
    (unscaled,) = segment_findings([whole], picture, NO_SCALE, RULES)
    (unfit,) = segment_findings([speck], picture, SCALE, RULES)
    assert unscaled.qca is None
    assert unfit.qca is None


def test_the_best_instance_is_the_segment_where_that_is_the_rule():
    picture, mask = _vessel()
    best = np.roll(mask, 3, axis=0)
    rules = Rules(tree_from="semantic", segment_from="best", threshold=0.5, agreement=0.0)
    answer = _answer(segment_prompt(12), 0.9, mask, [(0.1, best), (0.05, mask)])
    (found,) = segment_findings([answer], picture, NO_SCALE, rules)
    np.testing.assert_array_equal(found.mask, best)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_a_segment_is_named_where_it_is_said_to_be_there_in_the_scores(seed, limit):
    rng = np.random.default_rng(seed)
    semantic = rng.random((9, 11)) < 0.5
    best = np.where(rng.random((9, 11)) < rng.choice([0, 0.2, 0.7]), ~semantic, semantic)
    presence = float(rng.choice([0.4, 0.5, 0.9]))
    answer = _answer(segment_prompt(12), presence, semantic, [(0.2, best)])
    rules = replace(RULES, agreement=limit)
    found = segment_findings([answer], np.zeros((9, 11), np.uint8), NO_SCALE, rules)
    query = Query(
        query_id=1, frame_id="f", category_id=12, phrase="", presence=presence,
        instances=(Instance(score=0.2, mask=encode_mask(best), bbox=(0, 0, 1, 1)),),
        semantic=encode_mask(semantic),
    )  # fmt: skip
    said = SaidRule(presence=0.5, agreement=limit)
    scored = said.holds(np.array([presence]), np.array([heads_agreement(query)]))
    assert bool(found) == bool(scored[0])


def test_a_stenosis_lies_in_the_segment_that_holds_most_of_it():
    picture, mask = _vessel()
    left, right = mask.copy(), mask.copy()
    left[:, 80:], right[:, :80] = False, False
    across, apart, faint = mask.copy(), np.zeros_like(mask), mask.copy()
    across[:, :70], across[:, 84:] = False, False
    apart[:5, :5] = True
    segments = segment_findings(
        [_answer(segment_prompt(12), 0.9, left), _answer(segment_prompt(13), 0.8, right)],
        picture, NO_SCALE, RULES,
    )  # fmt: skip
    instances = [(0.9, across), (0.6, apart), (0.55, np.zeros_like(mask)), (0.4, faint)]
    answers = [_answer(ANY_LESION, 0.95, mask, instances)]
    found = lesion_findings(answers, segments, RULES)
    assert [(lesion.score, lesion.cass) for lesion in found] == [(0.9, 12), (0.6, None)]
    asked = [_answer(one, 0.95, mask, instances) for one in lesion_prompts("{segment}", [13, 14])]
    named = lesion_findings(asked, segments, RULES)
    assert [(lesion.score, lesion.cass) for lesion in named] == [(0.9, 13), (0.6, 13)]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["semantic", "best", "union"]))
def test_the_tree_is_made_by_the_rule_that_is_scored(seed, rule):
    rng = np.random.default_rng(seed)
    masks = rng.random((4, 9, 11)) < 0.3
    scores = np.sort(rng.random(3).round(1))[::-1]
    answer = _answer(
        Prompt(phrase="coronary artery", category_id=1), 0.7, masks[3],
        [(float(score), mask) for score, mask in zip(scores, masks[:3], strict=True)],
    )  # fmt: skip
    query = Query(
        query_id=1, frame_id="f", category_id=1, phrase="coronary artery", presence=0.7,
        instances=tuple(
            Instance(score=float(score), mask=encode_mask(mask), bbox=(0, 0, 1, 1))
            for score, mask in zip(scores, masks[:3], strict=True)
        ),
        semantic=encode_mask(masks[3]),
    )  # fmt: skip
    case = TreeCase(
        frame_id="f", patient="p", artery="RCA", view="AP", shape_px=(9, 11),
        spacing_mm=(1.0, 1.0), query=query, references={},
    )  # fmt: skip
    rules = Rules(tree_from=rule, segment_from="best", threshold=0.5, agreement=0.0)
    found = tree_finding(answer, rules)
    np.testing.assert_array_equal(found.mask, tree_mask(case, rule, 0.5))
    assert found.score == 0.7
