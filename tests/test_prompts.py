"""What a frame is asked for, and what it is told is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.coco import ImageEntry
from sam3_angio.config import load_config
from sam3_angio.errors import ConfigError
from sam3_angio.prompts import (
    NO_CATEGORY,
    AllQuestions,
    TrainingQuestions,
    TreeQuestions,
    ValidationQuestions,
    draw_in_turns,
    negative_pools,
    segment_numbers,
)

ROOT = Path(__file__).parents[1]
ANALYSED = analysed_segments()
POLICIES = ("none", "similar", "other_artery", "similar+other_artery", "all")
STRANGE = ("catheter", "rib", "spine")


def frame(cass, image_id=7):
    return ImageEntry(
        id=image_id,
        file_name="a.png",
        width=64,
        height=64,
        frame_id="a",
        patient="p",
        artery=segments()[cass].artery,
        cass_segment=cass,
        primary_deg=0.0,
        secondary_deg=0.0,
        spacing_row_mm=None,
        spacing_column_mm=None,
        spacing_source="none",
    )


def questions(policy="other_artery", per_image=3, phrases_per_image=1, seed=0):
    return TrainingQuestions(
        asked="analysed",
        policy=policy,
        per_image=per_image,
        phrases=STRANGE,
        phrases_per_image=phrases_per_image,
        seed=seed,
    )


def phrases_of(prompts):
    return [prompt.phrase for prompt in prompts]


# ---- by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.25, 1.5])
def test_a_rate_that_is_not_whole_holds_on_average(rate):
    counts = [
        len(questions(per_image=rate, phrases_per_image=0)(frame(13), {13}, epoch)) - 1
        for epoch in range(2000)
    ]
    assert set(counts) == {int(rate), int(rate) + 1}
    # A binomial share of 2000 draws has a deviation of 0.011 at most.
    assert sum(counts) / 2000 == pytest.approx(rate, abs=0.045)


def test_similar_negatives_of_the_mid_lad_are_its_neighbours_and_the_first_diagonal():
    asked = questions("similar", phrases_per_image=0)(frame(13), {13}, epoch=0)
    assert asked[0].phrase == "mid LAD"
    assert set(phrases_of(asked[1:])) == {"proximal LAD", "distal LAD", "first diagonal"}


def test_negatives_of_the_other_artery_in_a_left_frame_are_the_right_artery_s_segments():
    assert negative_pools("other_artery", "LCA", {13}, ANALYSED) == ((1, 2, 3, 4),)


def test_both_policies_take_turns():
    for epoch in range(20):
        asked = questions("similar+other_artery", per_image=4, phrases_per_image=0)(
            frame(13), {13}, epoch
        )
        arteries = [segments()[prompt.category_id].artery for prompt in asked[1:]]
        assert sorted(arteries) == ["LCA", "LCA", "RCA", "RCA"]


def test_without_negatives_only_what_is_annotated_is_asked():
    assert phrases_of(questions("none", phrases_per_image=0)(frame(2), {2}, 0)) == ["mid RCA"]


def test_a_left_dominant_heart_s_own_posterior_descending_artery_is_another_phrase():
    # Frame of the left artery, segment 27 labelled: 4 is the right artery's, and is not there.
    ((*absent,),) = negative_pools("other_artery", "LCA", {27}, segment_numbers("all"))
    assert 4 in absent
    assert 27 not in absent
    assert segments()[27].phrase != segments()[4].phrase


def test_the_predictions_ask_for_every_analysed_segment_and_every_wrong_phrase():
    asked = AllQuestions(asked="analysed", wrong=("bicycle", "wug"))(frame(1), {1}, 0)
    assert [p.category_id for p in asked] == [*ANALYSED, NO_CATEGORY, NO_CATEGORY]
    assert phrases_of(asked)[-2:] == ["bicycle", "wug"]


def test_phase_1_asks_for_the_tree_alone():
    assert phrases_of(TreeQuestions()(frame(1), {1}, 5)) == ["coronary artery"]


# ---- properties ---------------------------------------------------------------------------------

labels = st.sampled_from(["RCA", "LCA"]).flatmap(
    lambda artery: st.sets(
        st.sampled_from([n for n in ANALYSED if segments()[n].artery == artery]), min_size=1
    )
)
draws = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(POLICIES),
        "per_image": st.integers(1, 20),
        "phrases_per_image": st.integers(0, 3),
        "seed": st.integers(0, 2**31 - 1),
    }
)


@given(labels, draws, st.integers(0, 1000))
def test_what_is_annotated_comes_first_and_is_never_a_negative(annotated, draw, epoch):
    asked = questions(**draw)(frame(min(annotated)), annotated, epoch)
    ids = [prompt.category_id for prompt in asked]
    assert ids[: len(annotated)] == sorted(annotated)
    assert not annotated & set(ids[len(annotated) :])


@given(labels, draws, st.integers(0, 1000))
def test_no_phrase_is_asked_twice_and_never_more_than_wanted(annotated, draw, epoch):
    asked = phrases_of(questions(**draw)(frame(min(annotated)), annotated, epoch))
    assert len(set(asked)) == len(asked)
    assert len(asked) <= len(annotated) + draw["per_image"] + draw["phrases_per_image"]
    strange = [phrase for phrase in asked if phrase in STRANGE]
    assert len(strange) == draw["phrases_per_image"]


@given(labels, draws, st.integers(0, 1000))
def test_the_other_artery_s_policy_never_denies_what_the_injection_can_show(annotated, draw, epoch):
    image = frame(min(annotated))
    asked = questions(**draw | {"policy": "other_artery"})(image, annotated, epoch)
    for prompt in asked[len(annotated) :]:
        if prompt.category_id != NO_CATEGORY:
            assert segments()[prompt.category_id].artery != image.artery


@given(labels, draws, st.integers(0, 1000))
def test_the_same_seed_epoch_and_frame_ask_the_same_whatever_was_asked_before(
    annotated, draw, epoch
):
    image = frame(min(annotated))
    first = questions(**draw)(image, annotated, epoch)
    again = questions(**draw)
    again(frame(1, image_id=99), {1}, epoch + 3)
    assert again(image, annotated, epoch) == first


def test_epochs_and_frames_ask_for_different_negatives():
    ask = questions("all", per_image=3)
    by_epoch = {tuple(phrases_of(ask(frame(13), {13}, epoch))) for epoch in range(20)}
    by_frame = {tuple(phrases_of(ask(frame(13, number), {13}, 0))) for number in range(20)}
    assert len(by_epoch) > 10
    assert len(by_frame) > 10


def test_every_candidate_is_asked_about_equally_often():
    ask = questions("all", per_image=1, phrases_per_image=0)
    drawn = [ask(frame(13), {13}, epoch)[1].category_id for epoch in range(2600)]
    counts = np.bincount(drawn, minlength=30)[[n for n in ANALYSED if n != 13]]
    # 200 each are expected; a binomial count of 2600 draws has a deviation of 14.
    assert abs(counts - 200).max() < 60


@given(labels)
def test_validations_ask_the_same_in_each_epoch_and_only_what_is_true(annotated):
    image = frame(min(annotated))
    ask = ValidationQuestions(asked="analysed")
    asked = ask(image, annotated, 0)
    assert asked == ask(image, annotated, 9)
    assert len(asked) == len(annotated) + 2
    for prompt in asked[len(annotated) :]:
        assert segments()[prompt.category_id].artery != image.artery


@given(st.lists(st.lists(st.integers(1, 9), unique=True), max_size=3), st.integers(0, 12))
def test_draws_in_turns_are_of_the_pools_without_repetition(pools, count):
    drawn = draw_in_turns(pools, count, np.random.default_rng(3))
    offered = {number for pool in pools for number in pool}
    assert set(drawn) <= offered
    assert len(drawn) == len(set(drawn)) == min(count, len(offered))


# ---- parameters ---------------------------------------------------------------------------------


def changed(folder, change):
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    change(content)
    path = folder / "params.yaml"
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)
    return path


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        (["Bicycle "], "pattern"),
        (["BICYCLE"], "prompts.wrong both have 'BICYCLE'"),
        (["proximal  lad"], "names a vessel"),
        (["coronary artery"], "names a vessel"),
        (["rib", "Rib"], "said twice"),
        ([], "more than the 0 phrases"),
    ],
)
def test_phrases_that_would_spoil_the_score_are_refused(tmp_path, phrases, message):
    path = changed(tmp_path, lambda c: c["train_phase2"]["negatives"].update(phrases=phrases))
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_policy_that_does_not_exist_is_refused_by_name(tmp_path):
    path = changed(tmp_path, lambda c: c["train_phase2"]["negatives"].update(policy="hard"))
    with pytest.raises(ConfigError, match=r"train_phase2.negatives.policy"):
        load_config(path)
