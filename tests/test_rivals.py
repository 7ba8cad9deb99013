"""Rivals: other segments of the injected artery, of which it is known only where they are not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detector_case import write_segments
from test_unrelated import IMAGE, questions

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.coco import Category, Document, annotate, write_document
from sam3_angio.rivals import WithRivals, draw_rivals, label_frequencies


@pytest.fixture
def document_path(tmp_path: Path) -> Path:
    return write_segments(tmp_path) / "train" / "segments" / "annotations.json"


def with_rivals(document_path: Path, per_image: int = 1, seed: int = 0) -> WithRivals:
    return WithRivals(
        questions=questions(),
        asked="analysed",
        document_path=str(document_path),
        per_image=per_image,
        seed=seed,
    )


def labelled(*numbers: int) -> Document:
    """Return a document with one label of each of the segments, on frames of their own."""
    mask = np.eye(64, dtype=bool)
    marks = [
        annotate(mask, annotation_id=k, image_id=k, category_id=number, phrase="")
        for k, number in enumerate(numbers, start=1)
    ]
    images = [
        replace(IMAGE, id=mark.id, frame_id=f"f{mark.id}", file_name=f"f{mark.id}.png")
        for mark in marks
    ]
    names = [Category(id=number, name=str(number)) for number in dict.fromkeys(numbers)]
    return Document(images=tuple(images), annotations=tuple(marks), categories=tuple(names))


def test_frequencies_are_shares_of_the_arterys_labels() -> None:
    shares = label_frequencies(labelled(1, 12, 12, 12, 13, 400), analysed_segments())
    assert shares == {"RCA": {1: 1.0}, "LCA": {12: 0.75, 13: 0.25}}


def test_segments_that_are_not_asked_for_do_not_count() -> None:
    assert label_frequencies(labelled(11, 12), [12])["LCA"] == {12: 1.0}


def test_a_rival_is_of_the_injected_artery_labelled_somewhere_and_not_here(
    document_path: Path,
) -> None:
    ask = with_rivals(document_path)  # 1, 2, 12 and 13 are labelled
    for epoch in range(20):
        *others, rival = ask(IMAGE, {13}, epoch)
        assert tuple(others) == questions()(IMAGE, {13}, epoch)
        assert (rival.phrase, rival.category_id) == ("proximal LAD", 12)
        assert not rival.certain
        assert all(prompt.certain for prompt in others)


def test_a_frame_whose_artery_has_no_other_label_has_no_rival(document_path: Path) -> None:
    prompts = with_rivals(document_path, per_image=3)(IMAGE, {12, 13}, 0)
    assert all(prompt.certain for prompt in prompts)
    assert with_rivals(document_path, per_image=0)(IMAGE, {13}, 1) == questions()(IMAGE, {13}, 1)


def test_rivals_are_drawn_in_proportion_to_their_labels() -> None:
    rng = np.random.default_rng(3)
    shares = {12: 0.6, 13: 0.3, 14: 0.1}
    drawn = Counter(number for _ in range(4000) for number in draw_rivals(shares, [13], 1, rng))
    # Binomial: 6 of 7, with a deviation of 0.0055.
    assert drawn[12] / 4000 == pytest.approx(6 / 7, abs=0.025)
    assert set(drawn) == {12, 14}


def test_no_rival_is_drawn_twice_and_no_more_than_there_are() -> None:
    drawn = draw_rivals({12: 0.5, 13: 0.3, 14: 0.2}, [12], 5, np.random.default_rng(0))
    assert sorted(drawn) == [13, 14]
    assert draw_rivals({}, [], 2, np.random.default_rng(0)) == ()


def test_epochs_frames_and_seeds_draw_others_and_the_same_ones_draw_the_same(
    tmp_path: Path,
) -> None:
    path = tmp_path / "annotations.json"
    left = [number for number in analysed_segments() if segments()[number].artery == "LCA"]
    write_document(path, labelled(*left))
    ask = with_rivals(path, per_image=3)
    assert ask(IMAGE, {13}, 4) == ask(IMAGE, {13}, 4)
    assert ask(IMAGE, {13}, 4)[-3:] != ask(IMAGE, {13}, 5)[-3:]
    assert ask(IMAGE, {13}, 4)[-3:] != ask(replace(IMAGE, id=8), {13}, 4)[-3:]
    assert ask(IMAGE, {13}, 4)[-3:] != with_rivals(path, 3, seed=1)(IMAGE, {13}, 4)[-3:]
