"""Queries of drawn scenes: what is called true can be seen, what is called false cannot."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sam3_angio.anatomy import TREE_PHRASE, segments
from sam3_angio.scenes import draw_scene, queries, scene_queries
from sam3_angio.scenes.phrases import Description, Part, Rank, Relation, answer
from sam3_angio.scenes.raster import mask_of
from sam3_angio.scenes.wording import (
    ADJECTIVES,
    MAX_WORDS,
    NOUN_WORDS,
    wording,
)

SIZE = 160
SEEDS = st.integers(min_value=0, max_value=2**40)
SOME = settings(max_examples=20, deadline=None)
ANATOMY = (
    "arter|coronar|vessel|vein|vascul|proximal|distal|lad$|lcx|rca|circumflex|marginal|septal|"
    "ostium|ostial|stenos|lesion|heart|cardi|aort|lumen|catheter|rib|bone|blood|plaque|medial|"
    "lateral|anterior|posterior|descending|ascending|inferior|superior|mid$|segment|diagonals?$|"
    "intermedi|sinus|node|ventric|atri"
)
# a slanted line is diagonal whatever cardiologists call one
GENERIC = {"diagonal"}
TONES = {
    "dark": {"dark", "black"},
    "bright": {"bright", "white", "light"},
}


def asked(seed, positives=8, negatives=8):
    return scene_queries(seed, SIZE, positives, negatives)


@SOME
@given(SEEDS)
def test_a_scene_is_the_same_for_ever(seed):
    (first, asked_first), (second, asked_second) = asked(seed), asked(seed)
    np.testing.assert_array_equal(first.image, second.image)
    assert [query.phrase for query in asked_first] == [query.phrase for query in asked_second]
    for one, other in zip(asked_first, asked_second, strict=True):
        np.testing.assert_array_equal(one.masks, other.masks)


@SOME
@given(SEEDS)
def test_true_phrases_have_masks_and_false_ones_none(seed):
    scene, found = asked(seed)
    assert scene.image.dtype == np.uint8
    assert scene.image.shape == (SIZE, SIZE)
    for query in found:
        assert bool(query.masks) == query.present
        for mask in query.masks:
            assert mask.dtype == np.bool_
            assert mask.shape == (SIZE, SIZE)
            assert mask.sum() >= 2


@SOME
@given(SEEDS)
def test_no_phrase_is_both_true_and_false_of_a_scene(seed):
    scene = draw_scene(seed, SIZE)
    found = queries(scene, np.random.default_rng(seed), 40, 40)
    true = {query.phrase for query in found if query.present}
    assert not true & {query.phrase for query in found if not query.present}


@SOME
@given(SEEDS)
def test_the_same_words_name_the_same_pixels(seed):
    scene = draw_scene(seed, SIZE)
    pixels: dict[str, np.ndarray] = {}
    for query in queries(scene, np.random.default_rng(seed), 40, 0):
        union = np.any(query.masks, axis=0)
        np.testing.assert_array_equal(pixels.setdefault(query.phrase, union), union)


@SOME
@given(SEEDS)
def test_places_said_before_a_figure_are_where_its_masks_are(seed):
    _, found = asked(seed)
    for query in found:
        words = query.phrase.split()
        if not query.present or query.family not in ("shape", "line", "tube"):
            continue
        for mask in query.masks:
            y, x = np.argwhere(mask).mean(axis=0) / SIZE
            assert x < 0.5 or "left" not in words
            assert x > 0.5 or "right" not in words
            assert y < 0.5 or not {"upper", "top"} & set(words)
            assert y > 0.5 or not {"lower", "bottom"} & set(words)


def test_figures_have_the_tone_that_is_said():
    # a single figure of strong tone that nothing overlaps, against the pixels around it
    checked = 0
    for seed in range(150):
        scene, found = asked(seed)
        for query in found:
            tones = [tone for tone, words in TONES.items() if words & set(query.phrase.split())]
            if query.family not in ("shape", "line", "tube") or not query.present or not tones:
                continue
            for mask in query.masks:
                crowd = np.sum([scene.mask(thing) for thing in scene.things], axis=0)
                near = ndimage.binary_dilation(mask, iterations=5)
                near &= ~ndimage.binary_dilation(mask, iterations=2) & (crowd == 0)
                alone = mask & (crowd == 1)
                if alone.sum() < 30 or near.sum() < 60:
                    continue
                step = scene.image[near].mean() - scene.image[alone].mean()
                assert (step > 0) == (tones[0] == "dark"), (seed, query.phrase)
                checked += 1
    assert checked > 100


@SOME
@given(SEEDS)
def test_parts_lie_within_a_tube(seed):
    scene, found = asked(seed)
    tubes = [scene.mask(thing) for thing in scene.things if thing.kind == "tube"]
    for query in found:
        if query.family in ("third", "trunk", "branch", "fork", "narrowing", "stretch"):
            for mask in query.masks:
                # part and whole are cut into other chunks: the border may differ by a pixel
                inside = [(mask & ndimage.binary_dilation(tube)).sum() for tube in tubes]
                assert max(inside) == mask.sum()


def test_thirds_of_one_trunk_do_not_overlap_by_more_than_their_ends():
    owner = Description(noun="branching tube")
    checked = 0
    for seed in range(60):
        scene = draw_scene(seed, SIZE)
        thirds = [
            answer(scene, Part(part=part, owner=owner)) for part in ("beginning", "middle", "end")
        ]
        if not all(thirds):
            continue
        masks = [np.any([mask_of(p, SIZE) for p in third], axis=0) for third in thirds]
        for one, other in itertools.combinations(masks, 2):
            assert (one & other).sum() < 0.2 * min(one.sum(), other.sum())
        checked += 1
    assert checked > 20


def test_most_scenes_show_tubes_and_every_family_is_asked_both_ways():
    tubes, families = 0, set()
    for seed in range(150):
        scene, found = scene_queries(seed, SIZE, 7, 7)
        tubes += any(thing.kind == "tube" for thing in scene.things)
        families |= {(query.family, query.present) for query in found}
    assert tubes > 0.5 * 150
    assert len(families) == 22


def test_as_many_false_phrases_come_as_are_asked_for():
    for seed in range(40):
        _, found = scene_queries(seed, SIZE, 3, 6)
        assert sum(not query.present for query in found) == 6
        assert 1 <= sum(query.present for query in found) <= 3


@SOME
@given(SEEDS)
def test_phrases_are_short_and_plain(seed):
    _, found = asked(seed)
    for query in found:
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", query.phrase)
        assert len(query.phrase.split()) <= MAX_WORDS


def every_word():
    """Return the words of every table and of many worded phrases."""
    tables = itertools.chain(NOUN_WORDS.values(), ADJECTIVES.values())
    words = {word for phrases in tables for phrase in phrases for word in phrase.split()}
    rng = np.random.default_rng(0)
    for seed in range(120):
        _, found = scene_queries(seed, SIZE, 8, 12)
        words |= {word for query in found for word in query.phrase.split()}
    owner = Description(noun="branching tube")
    parts = ("beginning", "middle", "end", "trunk", "branch", "fork", "arm", "narrowing")
    for part in (*parts, "before", "between", "after"):
        for _ in range(60):
            words |= set(wording(Part(part=part, owner=owner, number=1), rng).split())
    disc = Description(noun="disc")
    for side in ("left", "right", "upper", "lower"):
        for _ in range(20):
            words |= set(wording(Rank(base=disc, number=1, side=side), rng).split())
            words |= set(wording(Relation(subject=disc, side=side, reference=disc), rng).split())
    return words


def test_no_word_is_anatomy():
    words = every_word()
    assert len(words) > 100
    assert not {word for word in words - GENERIC if re.match(ANATOMY, word)}


def test_no_phrase_is_a_segments_name():
    names = {segment.phrase.lower() for segment in segments().values()} | {TREE_PHRASE}
    for seed in range(40):
        _, found = scene_queries(seed, SIZE, 12, 20)
        assert not names & {query.phrase for query in found}


@pytest.mark.parametrize(("seed", "size_px"), [(-1, 384), (0, 20)])
def test_an_impossible_scene_is_refused(seed, size_px):
    with pytest.raises(ValueError, match="must be at least 96 px"):
        draw_scene(seed, size_px)


@SOME
@given(SEEDS)
def test_a_beginner_is_asked_bare_nouns_only(seed):
    _, found = scene_queries(seed, SIZE, 3, 3, "nouns")
    nouns = {word for words in NOUN_WORDS.values() for word in words}
    for query in found:
        assert re.sub("^(whole|entire) ", "", query.phrase) in nouns
    assert {query.family for query in found} <= {"shape", "line", "tube"}
    assert sum(query.present for query in found) <= 3
    assert sum(not query.present for query in found) == 3
    assert all(query.present == bool(query.masks) for query in found)
