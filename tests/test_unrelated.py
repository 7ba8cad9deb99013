"""Phrases that name nothing in an angiogram."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sam3_angio.anatomy import TREE_PHRASE, segments
from sam3_angio.coco import ImageEntry
from sam3_angio.config import load_config
from sam3_angio.prompts import NO_CATEGORY, TrainingQuestions
from sam3_angio.unrelated import (
    WithUnrelated,
    anatomical_words,
    draw_unrelated,
    invented_word,
    modifiers,
    unrelated_nouns,
    words_of,
)

seeds = st.integers(0, 2**32 - 1)
IMAGE = ImageEntry(
    id=7,
    file_name="a.png",
    width=64,
    height=64,
    frame_id="a",
    patient="p",
    artery="LCA",
    cass_segment=13,
    primary_deg=0.0,
    secondary_deg=0.0,
    spacing_row_mm=None,
    spacing_column_mm=None,
)


def questions():
    return TrainingQuestions(
        asked="analysed",
        policy="other_artery",
        per_image=1,
        phrases=("rib", "sailing boat"),
        phrases_per_image=1,
        seed=0,
    )


def with_unrelated(per_image=3, seed=0):
    return WithUnrelated(
        questions=questions(), per_image=per_image, held_out=("wug", "big zebra"), seed=seed
    )


def test_other_questions_stay_as_they_are_and_the_drawn_come_behind():
    others = questions()(IMAGE, {13}, 4)
    asked = with_unrelated()(IMAGE, {13}, 4)
    assert asked[: len(others)] == others
    assert [prompt.category_id for prompt in asked[len(others) :]] == [NO_CATEGORY] * 3
    assert with_unrelated(per_image=0)(IMAGE, {13}, 4) == others


def test_epochs_and_seeds_draw_others_and_the_same_ones_draw_the_same():
    asked = with_unrelated()(IMAGE, {13}, 4)
    assert asked == with_unrelated()(IMAGE, {13}, 4)
    assert asked != with_unrelated()(IMAGE, {13}, 5)
    assert asked[-3:] != with_unrelated(seed=1)(IMAGE, {13}, 4)[-3:]


def test_what_is_scored_is_never_drawn():
    ask = with_unrelated()
    ends = {
        prompt.phrase.split()[-1] for epoch in range(300) for prompt in ask(IMAGE, {13}, epoch)[-3:]
    }
    assert len(ends) > 400
    assert not ends & {"wug", "zebra", "big"}


def test_no_thing_is_a_word_of_a_segment_or_of_what_is_scored():
    nouns = unrelated_nouns()
    assert len(set(nouns)) == len(nouns) > 400
    scored = words_of(load_config().prompts.wrong)
    assert not set(nouns) & (anatomical_words() | scored)
    assert all(noun.isascii() and noun.islower() and noun.isalpha() for noun in nouns)


def test_nothing_thin_and_branching_and_nothing_of_the_laboratory_is_called_absent():
    assert not set(unrelated_nouns()) & {
        "artery", "branch", "cable", "catheter", "heart", "line", "river", "root", "rope", "snake",
        "stent", "string", "thread", "tree", "tube", "vein", "vessel", "wire", "worm",
    }  # fmt: skip


def test_modifiers_are_all_words_but_the_last_of_the_segments_phrases():
    assert {"proximal", "mid", "distal", "first", "obtuse", "left"} <= set(modifiers())
    assert not set(modifiers()) & {"LAD", "RCA", "circumflex artery", "diagonal", "marginal"}


@given(seeds, st.integers(0, 20))
def test_as_many_phrases_as_wanted_none_twice_and_none_of_anatomy(seed, count):
    rng = np.random.default_rng(seed)
    phrases = draw_unrelated(count, {"kidney", "zebra"}, rng)
    assert len(set(phrases)) == len(phrases) == count
    known = {segment.phrase.lower() for segment in segments().values()} | {TREE_PHRASE}
    for phrase in phrases:
        assert phrase not in known
        *before, word = phrase.split()
        assert word not in anatomical_words() | {"kidney", "zebra"}
        assert len(before) <= 1
        assert set(before) <= set(modifiers())


def test_words_that_exist_and_words_that_do_not_alone_and_modified():
    phrases = draw_unrelated(100, (), np.random.default_rng(5))
    # Binomial counts of 100 draws: 75 and 50, with deviations of 4.3 and 5.
    assert abs(sum(phrase.split()[-1] in unrelated_nouns() for phrase in phrases) - 75) < 18
    assert abs(sum(" " in phrase for phrase in phrases) - 50) < 20


@given(seeds)
def test_invented_words_are_one_syllable(seed):
    word = invented_word(np.random.default_rng(seed))
    assert word.isalpha()
    assert 3 <= len(word) <= 6
