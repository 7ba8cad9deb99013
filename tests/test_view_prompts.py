"""View angles in words, exchanged between patients, and the exemplars that they choose."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam3_angio.acquisition import ViewAngle
from sam3_angio.coco import Category, Document, ImageEntry, annotate
from sam3_angio.errors import DataError
from sam3_angio.view_prompts import SILENT, ViewWording, phrase_with_view, spell_view
from sam3_angio.view_table import (
    ToldView,
    ViewTable,
    directions,
    distances_deg,
    load_table,
    nearest_exemplars,
    shuffled_views,
    true_views,
    write_table,
)


def entry(number, *, patient=None, primary=0.0, secondary=0.0, artery="LCA"):
    frame = f"p{number:010x}-{number:08x}"
    return ImageEntry(
        id=number,
        file_name=f"{frame}.png",
        width=40,
        height=20,
        frame_id=frame,
        patient=patient or f"p{number:010x}",
        artery=artery,
        cass_segment=12,
        primary_deg=primary,
        secondary_deg=secondary,
        spacing_row_mm=None,
        spacing_column_mm=None,
        spacing_source="none",
    )


def marked(images, categories):
    mask = np.zeros((20, 40), dtype=bool)
    mask[5:15, 10:30] = True
    marks = [
        annotate(mask, annotation_id=100 + k, image_id=image.id, category_id=category, phrase="x")
        for k, (image, category) in enumerate(zip(images, categories, strict=True))
    ]
    named = tuple(Category(id=number, name=str(number)) for number in sorted(set(categories)))
    return Document(images=tuple(images), annotations=tuple(marks), categories=named)


# ---- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("primary", "secondary", "step", "words"),
    [
        (-30, 20, 10, "RAO 30 cranial 20"),
        (45.2, -31, 5, "LAO 45 caudal 30"),
        (45.2, -31, 1, "LAO 45 caudal 31"),
        (0, 0, 10, "AP"),
        (4.9, -4.9, 10, "AP"),
        (3, 38, 10, "AP cranial 40"),
        (-90, 2, 10, "RAO 90"),
    ],
)
def test_a_view_is_said_as_a_cardiologist_says_it(primary, secondary, step, words):
    assert spell_view(ViewAngle(primary_deg=primary, secondary_deg=secondary), step) == words


@settings(deadline=None)
@given(st.floats(0.01, 180), st.floats(0.01, 90), st.integers(1, 30))
def test_opposite_views_round_alike(primary, secondary, step):
    here = spell_view(ViewAngle(primary_deg=primary, secondary_deg=secondary), step)
    there = spell_view(ViewAngle(primary_deg=-primary, secondary_deg=-secondary), step)
    assert there == here.replace("LAO", "RAO").replace("cranial", "caudal")


def test_the_template_orders_phrase_and_view():
    assert phrase_with_view("mid RCA", "AP", "{view} view of the {phrase}") == (
        "AP view of the mid RCA"
    )
    assert phrase_with_view("a {view}", "AP", "{phrase}, {view}") == "a {view}, AP"


def test_a_frame_is_asked_with_the_view_it_is_said_to_have(tmp_path):
    asking, giver = entry(7, primary=50, secondary=5), entry(8, primary=-30, secondary=20)
    told = ToldView(image_id=7, from_image_id=8, primary_deg=-30.0, secondary_deg=20.0)
    write_table(tmp_path / "views.json", ViewTable(views=(told,), exemplars=()))
    path = str(tmp_path / "views.json")
    said = ViewWording(table=path, template="{phrase}, {view}", round_deg=10)
    assert said(asking, "mid LAD") == "mid LAD, RAO 30 cranial 20"
    assert said(asking, "rib") == "rib, RAO 30 cranial 20"
    assert ViewWording(table=path, template=SILENT, round_deg=1)(asking, "mid LAD") == "mid LAD"
    with pytest.raises(KeyError):
        said(giver, "mid LAD")


# ---- the control ------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(0, 2**31 - 1))
def test_shuffling_keeps_the_views_and_gives_nobody_a_view_of_the_same_patient(owners, seed):
    images = [
        entry(k + 1, patient=f"p{owner}", primary=float(k % 7), secondary=float(k))
        for k, owner in enumerate(owners)
    ]
    if 2 * max(Counter(owners).values()) > len(owners):
        with pytest.raises(DataError, match="one patient's"):
            shuffled_views(images, seed)
        return
    told = shuffled_views(images, seed)
    patient = {image.id: image.patient for image in images}
    assert [view.image_id for view in told] == [image.id for image in images]
    assert all(patient[view.image_id] != patient[view.from_image_id] for view in told)
    assert Counter((v.primary_deg, v.secondary_deg) for v in told) == Counter(
        (image.primary_deg, image.secondary_deg) for image in images
    )
    assert told == shuffled_views(images[::-1], seed)


def test_shuffled_views_do_not_tell_the_artery():
    images = [
        entry(k, primary=30.0 if k % 2 else -30.0, artery="RCA" if k % 2 else "LCA")
        for k in range(1, 401)
    ]
    told = {view.image_id: view.primary_deg for view in shuffled_views(images, 3)}
    agree = np.mean([told[image.id] == image.primary_deg for image in images])
    assert abs(agree - 0.5) < 0.1


def test_another_seed_shuffles_differently():
    images = [entry(k, primary=float(k)) for k in range(1, 30)]
    assert shuffled_views(images, 0) != shuffled_views(images, 1)


# ---- exemplars --------------------------------------------------------------------------------


def test_views_are_directions_in_space():
    views = [
        entry(1),
        entry(2, primary=90),
        entry(3, secondary=90),
        entry(4, primary=60, secondary=90),
        entry(5, primary=180),
    ]
    assert np.allclose(directions(views[:3]), [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    apart = distances_deg(directions(views), directions(views))
    assert np.allclose(apart[0], [0, 90, 90, 90, 180])
    assert apart[2, 3] == 0  # straight from above there is no left and right
    assert np.allclose(apart, apart.T)


def test_the_exemplar_is_the_nearest_training_frame_of_another_patient_with_the_segment():
    asking = entry(50, patient="me", primary=-30, secondary=20)
    training = [
        entry(1, patient="me", primary=-30, secondary=20),  # the same patient's
        entry(2, patient="a", primary=-30, secondary=20),  # another segment
        entry(3, patient="b", primary=-20, secondary=20),
        entry(4, patient="c", primary=-33, secondary=21),
        entry(5, patient="d", primary=-33, secondary=21),  # as near, later
    ]
    document = marked(training, [12, 13, 12, 12, 12])
    found = {f.category_id: f for f in nearest_exemplars([asking], document, [12, 13, 14])}
    assert found.keys() == {12, 13}
    assert (found[12].from_image_id, found[12].annotation_id) == (4, 103)
    assert found[12].distance_deg == pytest.approx(np.hypot(3 * np.cos(np.deg2rad(20.5)), 1), 1e-3)
    assert found[12].box == (0.5, 0.5, 0.5, 0.5)
    assert (found[13].from_image_id, found[13].distance_deg) == (2, 0)


def test_a_segment_that_no_other_patient_shows_has_no_exemplar():
    training = [entry(1, patient="me"), entry(2, patient="me"), entry(3, patient="a")]
    document = marked(training, [12, 12, 13])
    asked = {f.category_id for f in nearest_exemplars(training[:1], document, [12, 13])}
    assert asked == {13}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.floats(-90, 90), st.floats(-45, 45), st.sampled_from([12, 13])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_an_exemplar_is_never_of_the_frames_patient_and_no_candidate_is_nearer(frames):
    training = [
        entry(k + 1, patient=f"p{owner}", primary=primary, secondary=secondary)
        for k, (owner, primary, secondary, _) in enumerate(frames)
    ]
    document = marked(training, [category for *_, category in frames])
    of = {image.id: image for image in training}
    segment = {mark.image_id: mark.category_id for mark in document.annotations}
    for found in nearest_exemplars(training, document, [12, 13]):
        asking, shown = of[found.image_id], of[found.from_image_id]
        assert asking.patient != shown.patient
        assert segment[shown.id] == found.category_id
        others = [
            image
            for image in training
            if image.patient != asking.patient and segment[image.id] == found.category_id
        ]
        apart = distances_deg(directions([asking]), directions(others))
        assert found.distance_deg == apart.min()


# ---- the table --------------------------------------------------------------------------------


def test_a_table_reads_back_as_it_was_written(tmp_path):
    images = [entry(k, primary=k / 3) for k in range(1, 6)]
    document = marked(images, [12, 13, 12, 13, 12])
    table = ViewTable(
        views=true_views(images), exemplars=nearest_exemplars(images, document, [12, 13])
    )
    write_table(tmp_path / "table.json", table)
    assert load_table(tmp_path / "table.json") == table
    assert table.angles[4] == ViewAngle(primary_deg=4 / 3, secondary_deg=0.0)
    assert table.exemplar_of[2, 12].category_id == 12


def test_frames_with_their_own_views_keep_them():
    images = [replace(entry(k), primary_deg=float(k)) for k in (3, 1, 2)]
    assert [(v.image_id, v.from_image_id, v.primary_deg) for v in true_views(images)] == [
        (1, 1, 1.0),
        (2, 2, 2.0),
        (3, 3, 3.0),
    ]
