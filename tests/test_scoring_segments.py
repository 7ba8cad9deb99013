"""Named segments: joining files, scores of answers, and figures of whole models."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from segment_case import (
    NONSENSE,
    Said,
    Skill,
    answers_of,
    drawn_cases,
    tube,
    write_data,
    write_predictions,
)

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.coco import decode_mask, encode_mask
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.report.phase3 import verdict
from sam3_angio.scoring import answers
from sam3_angio.scoring.answers import SaidRule, mask_ious, score_frames
from sam3_angio.scoring.detection import weighted_precision
from sam3_angio.scoring.masks import iou
from sam3_angio.scoring.phase2 import (
    AnswerRules,
    estimate_all,
    estimate_groups,
    score_predictions,
    segment_matches,
)
from sam3_angio.scoring.phase3 import compare_arms, ordered_arms, score_arms
from sam3_angio.scoring.segments import read_segment_frames, standing
from sam3_angio.scoring.statistics import Resampling

RESAMPLING = Resampling(samples=200, confidence=0.95, seed=0)
RULES = AnswerRules(rule="best", said=SaidRule(presence=0.5, agreement=0.0), processes=1)
PHRASE = {number: segments()[number].phrase for number in analysed_segments()}


def perfect(case, number: int) -> Said:
    if number not in case.masks:
        return Said(presence=0.02)
    return Said(presence=0.9, masks=((1.0, case.masks[number]),), semantic=case.masks[number])


def perfect_answers(cases) -> dict[tuple[int, str], Said]:
    said = {(case.number, PHRASE[n]): perfect(case, n) for case in cases for n in PHRASE}
    return said | {(case.number, word): Said(presence=0.01) for case in cases for word in NONSENSE}


def written(folder, cases, said, truth="phantom"):
    write_data(folder, cases, truth)
    write_predictions(folder / "predictions", cases, said)
    return folder / "dataset", folder / "truth", folder / "predictions"


@pytest.fixture
def cases():
    return drawn_cases(frames=24, patients=6)


def means(scores) -> dict[tuple[str, str], float]:
    return {key: of.mean for key, of in estimate_all(scores, RESAMPLING).items()}


# ---- what is known of a phrase -------------------------------------------------------------------


def test_a_phrase_stands_to_a_frame_as_labels_and_truth_say(tmp_path):
    case = drawn_cases(frames=1, patients=1)[0]
    masks = {n: tube(place, 64) for place, n in enumerate((12, 13, 15))}
    case = replace(case, artery="LCA", segment=13, masks=masks)
    paths = written(tmp_path, [case], perfect_answers([case]))
    frame = read_segment_frames(*paths)[0]
    assert standing(frame, 13) == "annotated"
    assert standing(frame, 12) == "visible"
    assert standing(frame, 28) == "absent"
    assert standing(frame, 2) == "other artery"
    assert standing(frame, 0) == "nonsense"
    without_truth = replace(frame, visible=None)
    assert standing(without_truth, 13) == "annotated"
    assert standing(without_truth, 12) == standing(without_truth, 28) == "unknown"
    assert standing(without_truth, 2) == "other artery"


def test_answers_are_ordered_and_further_phrases_left_out(tmp_path, cases):
    paths = written(tmp_path, cases, perfect_answers(cases))
    queries = json.loads((paths[2] / "queries.json").read_text())
    further = {**queries[0], "query_id": 10**6, "category_id": 11, "phrase": "left main"}
    (paths[2] / "queries.json").write_text(json.dumps([further, *reversed(queries)]))
    for frame in read_segment_frames(*paths):
        asked = [query.category_id for query in frame.answers]
        assert asked == [*analysed_segments(), 0, 0, 0]


# ---- faults ------------------------------------------------------------------------------------


def test_every_fault_is_named_at_once(tmp_path, cases):
    said = perfect_answers(cases)
    del said[3, PHRASE[12]], said[3, PHRASE[13]]
    said[5, PHRASE[12]] = Said(presence=0.9, masks=((0.9, np.ones((8, 8), dtype=bool)),))
    paths = written(tmp_path, cases, said)
    truth = json.loads((paths[1] / "segments.json").read_text())
    truth["annotations"] = [m for m in truth["annotations"] if m["image_id"] != 7]
    truth["images"] = [image for image in truth["images"] if image["id"] != 7]
    (paths[1] / "segments.json").write_text(json.dumps(truth))
    with pytest.raises(DataError) as raised:
        read_segment_frames(*paths)
    text = str(raised.value)
    assert "was not asked for proximal LAD, mid LAD" in text
    assert "has a mask of (8, 8), expected (64, 64)" in text
    assert f"{cases[6].frame_id} has no truth" in text


def test_a_frame_without_its_label_is_refused(tmp_path, cases):
    paths = written(tmp_path, cases, perfect_answers(cases))
    labels = paths[0] / "val" / "segments" / "annotations.json"
    document = json.loads(labels.read_text())
    document["annotations"] = document["annotations"][1:]
    labels.write_text(json.dumps(document))
    with pytest.raises(DataError, match="has no mask of its analysed segment"):
        read_segment_frames(*paths)


def test_a_rule_that_needs_masks_that_are_not_there_is_refused(tmp_path, cases):
    paths = written(tmp_path, cases, perfect_answers(cases))
    with pytest.raises(ConfigError, match="segment_from"):
        score_predictions(*paths, replace(RULES, rule="semantic"))


# ---- by hand -----------------------------------------------------------------------------------


def test_a_perfect_model_has_perfect_figures(tmp_path, cases):
    scores = score_predictions(*written(tmp_path, cases, perfect_answers(cases)), RULES)
    value = means(scores)
    for key in (("top1", "annotated"), ("macro_f1", "annotated"), ("dice", "truth")):
        assert value[key] == 1
    for key in (("cgf1", "truth"), ("il_mcc", "truth"), ("pmf1", "truth"), ("ap", "truth")):
        assert value[key] == pytest.approx(1, abs=1e-3)
    assert value["false_positives", "pooled"] == 0
    assert value["recall", "visible"] == value["auc", "phrases"] == 1
    # One label a frame: right answers to the other visible segments count as wrong.
    visible = sum(len(case.masks) for case in cases)
    wrong = 24 * 17 - visible
    mcc = (24 * wrong) / math.sqrt(visible * 24 * (24 * 16) * wrong)
    assert value["il_mcc", "annotated"] == pytest.approx(mcc, abs=1e-3)
    assert value["cgf1", "known"] == pytest.approx(1, abs=1e-3)


def test_a_model_that_says_yes_to_everything_has_no_correlation(tmp_path, cases):
    mask = np.ones((64, 64), dtype=bool)
    said = {key: Said(presence=0.9, masks=((1.0, mask),)) for key in perfect_answers(cases)}
    value = means(score_predictions(*written(tmp_path, cases, said), RULES))
    assert value["false_positives", "pooled"] == value["recall", "annotated"] == 1
    assert value["il_mcc", "truth"] == value["cgf1", "truth"] == 0
    assert value["auc", "phrases"] == 0.5


def test_a_phrase_that_two_heads_draw_in_two_places_is_not_said_to_be_there(tmp_path, cases):
    # The presence of everything is said to be there; what is not, the heads draw beside each other.
    left, right = np.zeros((2, 64, 64), dtype=bool)
    left[:, :30], right[:, 20:50] = True, True
    said = {}
    for case in cases:
        for phrase, number in [
            *((name, n) for n, name in PHRASE.items()),
            *((w, 0) for w in NONSENSE),
        ]:
            one, other = (case.masks[number],) * 2 if number in case.masks else (left, right)
            said[case.number, phrase] = Said(presence=0.9, masks=((1.0, one),), semantic=other)
    places = written(tmp_path, cases, said)
    scores = score_predictions(*places, RULES)
    found = {answer.agreement for of in scores.frames for answer in of.answers}
    assert sorted(found) == pytest.approx([iou(left, right), 1])
    value = means(scores)
    assert value["false_positives", "pooled"] == value["recall", "visible"] == 1
    limit = (iou(left, right) + 1) / 2
    value = means(
        score_predictions(*places, replace(RULES, said=replace(RULES.said, agreement=limit)))
    )
    assert value["false_positives", "pooled"] == 0
    assert value["recall", "annotated"] == value["recall", "visible"] == 1
    assert value["presence_false_positives", "pooled"] == value["presence_recall", "visible"] == 1
    assert value["agreed_auc", "phrases"] == 1


def test_a_model_that_finds_nothing_names_nothing(tmp_path, cases):
    said = dict.fromkeys(perfect_answers(cases), Said(presence=0.1))
    scores = score_predictions(*written(tmp_path, cases, said), RULES)
    value = means(scores)
    assert value["top1", "annotated"] == value["dice", "annotated"] == value["ap", "truth"] == 0
    assert value["named_absent", "annotated"] == 1
    assert math.isnan(value["hd95_mm", "annotated"])
    assert scores.confusion[:, -1].sum() == len(cases)


def test_swapped_names_are_confused_and_still_well_drawn_elsewhere(tmp_path):
    cases = [c for c in drawn_cases(frames=60, patients=6) if c.segment in {12, 13}]
    swap = {12: 13, 13: 12}
    said = perfect_answers(cases)
    for case in cases:
        for first, second in swap.items():
            said[case.number, PHRASE[first]] = perfect(case, second)
    value = means(score_predictions(*written(tmp_path, cases, said), RULES))
    assert value["named_neighbour", "annotated"] == 1
    assert value["top1", "annotated"] == value["dice", "annotated"] == 0
    assert value["false_positives", "pooled"] == 0


def test_without_a_known_truth_only_labels_decide(tmp_path, cases):
    paths = written(tmp_path, cases, perfect_answers(cases), truth="none")
    value = means(score_predictions(*paths, RULES))
    assert not [key for key in value if key[1] in {"truth", "visible", "absent"}]
    assert value["cgf1", "known"] == pytest.approx(1, abs=1e-3)
    assert value["false_positives", "pooled"] == 0


# ---- against other implementations ---------------------------------------------------------------


def test_overlap_of_codes_is_overlap_of_masks():
    rng = np.random.default_rng(0)
    masks = rng.random((6, 20, 30)) < 0.4
    masks[3] = False
    found = mask_ious([*(encode_mask(mask) for mask in masks), None], encode_mask(masks[0]))
    np.testing.assert_allclose(found[:-1], [iou(masks[0], mask) for mask in masks])
    assert found[-1] == 0


def test_figures_of_a_realistic_model_agree_with_plain_loops(tmp_path, cases):
    paths = written(tmp_path, cases, answers_of(cases, Skill()))
    scores = score_predictions(*paths, RULES)
    value = means(scores)
    frames = read_segment_frames(*paths)
    dice, right = [], 0
    for frame in frames:
        best, name = 0.0, None
        reference = decode_mask(frame.annotated.segmentation)
        for query in frame.answers[:14]:
            mask = np.zeros((64, 64), dtype=bool)
            if query.instances:
                mask = decode_mask(query.instances[0].mask)
            overlap = (mask & reference).sum() / (mask | reference).sum()
            if query.presence >= 0.5 and overlap >= 0.1 and query.presence * overlap > best:
                best, name = query.presence * overlap, query.category_id
            if query.category_id == frame.segment:
                dice.append(2 * (mask & reference).sum() / (mask.sum() + reference.sum()))
        right += name == frame.segment
    assert value["top1", "annotated"] == pytest.approx(right / len(frames))
    assert value["dice", "annotated"] == pytest.approx(np.mean(dice))


def test_average_precision_is_the_mean_over_segments(tmp_path, cases):
    paths = written(tmp_path, cases, answers_of(cases, Skill()))
    scores = score_predictions(*paths, RULES)
    rows = [
        row
        for row in estimate_groups(scores, RESAMPLING)
        if (row.name, row.against, row.group) == ("ap50", "truth", "segment")
    ]
    occurring = {n for case in cases for n in case.masks}
    assert {row.value for row in rows} == {PHRASE[n] for n in occurring}
    mean = np.mean([row.estimate.mean for row in rows])
    assert means(scores)["ap50", "truth"] == pytest.approx(mean)
    figure = weighted_precision(segment_matches(read_segment_frames(*paths), "truth"), slice(0, 1))
    assert figure.of_weights(np.ones((1, 6)))[0] == pytest.approx(mean)


def test_groups_add_up_to_all_frames(tmp_path, cases):
    scores = score_predictions(*written(tmp_path, cases, answers_of(cases, Skill())), RULES)
    rows = list(estimate_groups(scores, RESAMPLING))
    for group in ("segment", "artery", "view"):
        own = [
            row.estimate
            for row in rows
            if (row.name, row.against, row.group) == ("top1", "annotated", group)
        ]
        assert sum(of.n for of in own) == len(cases)
        total = sum(of.n * of.mean for of in own)
        assert total / len(cases) == pytest.approx(means(scores)["top1", "annotated"])


def test_two_processes_score_as_one_does(tmp_path, cases, monkeypatch):
    monkeypatch.setattr(answers, "_MANY", 0)
    frames = read_segment_frames(*written(tmp_path, cases, answers_of(cases, Skill())))
    one, two = (score_frames(frames, "best", processes) for processes in (1, 2))
    # NaN is not equal to itself; its text is.
    assert repr([of.answers for of in one]) == repr([of.answers for of in two])
    assert repr([of.masks for of in one]) == repr([of.masks for of in two])


# ---- arms --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    cases = drawn_cases(frames=80, patients=25, seed=3)
    write_data(folder, cases)
    skills = {
        "none": Skill(right_name=0.6),
        "text": Skill(right_name=0.6),
        "embedding": Skill(right_name=1.0, moved_px=0.0),
        "shuffled": Skill(right_name=0.6),
    }
    for seed, (name, skill) in enumerate(skills.items()):
        answers = answers_of(cases, skill, 0 if name == "text" else seed)
        write_predictions(folder / "predictions" / name, cases, answers)
    scores = score_arms(folder / "dataset", folder / "truth", folder / "predictions", RULES)
    return compare_arms(scores, RESAMPLING)


def comparison(arms, arm, to, name, artery="all"):
    return next(
        row
        for row in arms.comparisons
        if (row.arm, row.to, row.name, row.against, row.artery)
        == (arm, to, name, "annotated", artery)
    )


def test_arms_are_told_in_a_fixed_order():
    assert ordered_arms(["shuffled", "new", "text", "none"]) == ("none", "text", "new", "shuffled")


def test_an_arm_that_answers_as_none_has_no_difference(arms):
    row = comparison(arms, "text", "none", "top1")
    assert (row.difference.mean, row.difference.low, row.difference.high) == (0, 0, 0)
    # Seven frames to none give p = 1 / 64, three times which (three arms) is below 0.05.
    assert row.declarable == pytest.approx(7 / 80)
    assert row.detectable > row.declarable
    drawn = comparison(arms, "text", "none", "dice")
    assert math.isnan(drawn.detectable)
    assert math.isnan(drawn.declarable)
    test = next(of for of in arms.tests if (of.arm, of.to) == ("text", "none"))
    assert (test.only_arm, test.only_other, test.p, test.holm_p) == (0, 0, 1, 1)


def test_differences_are_those_of_the_arms_figures(arms):
    for row in arms.comparisons:
        if row.artery == "all" and row.name in {"top1", "dice", "macro_f1", "false_positives"}:
            key = (row.name, row.against)
            expected = arms.estimates[row.arm][key].mean - arms.estimates[row.to][key].mean
            assert row.difference.mean == pytest.approx(expected)


def test_arteries_split_the_frames(arms):
    whole = comparison(arms, "embedding", "none", "dice")
    parts = [comparison(arms, "embedding", "none", "dice", artery) for artery in ("LCA", "RCA")]
    assert sum(row.difference.n for row in parts) == whole.difference.n == 80
    total = sum(row.difference.n * row.difference.mean for row in parts)
    assert total / 80 == pytest.approx(whole.difference.mean)


def test_the_verdict_says_which_arm_helps_and_which_cannot_be_told_apart(arms):
    text = verdict(arms, 1)
    assert text.startswith("embedding (+")
    assert "raises top-1 over none" in text
    assert "text (+0.000, +0.000 to +0.000) is not shown to differ from none in top-1" in text
    assert "embedding exceeds shuffled in top-1 (+" in text
    assert "embedding exceeds shuffled in Dice (+" in text


def test_the_verdict_follows_the_intervals(arms):
    wide = [
        replace(row, difference=replace(row.difference, low=-0.5, high=0.5), detectable=0.7)
        for row in arms.comparisons
    ]
    text = verdict(replace(arms, comparisons=tuple(wide)), 1)
    assert "raises" not in text
    assert "no difference below 0.087 could be declared; a difference of 0.700 would be" in text
    falling = [
        replace(row, difference=replace(row.difference, low=-0.5, high=-0.1))
        for row in arms.comparisons
    ]
    assert "lower Dice over none" in verdict(replace(arms, comparisons=tuple(falling)), 1)
    of_text = tuple(row for row in falling if row.arm == "text")
    assert "lowers Dice over none" in verdict(replace(arms, comparisons=of_text), 1)
    assert "nothing can be said" in verdict(replace(arms, comparisons=()), 1)


def test_a_small_p_of_the_interval_alone_is_no_claim(arms):
    unsure = tuple(replace(test, holm_p=0.2) for test in arms.tests)
    text = verdict(replace(arms, tests=unsure), 1)
    assert "raises top-1" not in text
    assert "raises Dice" in text


def test_arms_that_answered_other_frames_are_refused(arms):
    fewer = replace(arms.arms["text"], frames=arms.arms["text"].frames[1:])
    with pytest.raises(DataError, match="other frames or phrases"):
        compare_arms({**arms.arms, "text": fewer}, RESAMPLING)


def test_no_arm_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no arm has predictions"):
        score_arms(tmp_path, tmp_path, tmp_path, RULES)
