"""Pseudo-labels of the phantom: a network's faults, not a mask of something else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from sam3_angio.phantom.pseudo_label import LABEL_SIZE_PX, pseudo_label


def drawn_tree(size_px: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """A trunk of 12 px, two branches of 8 and 4 px, and a catheter above them."""
    scale = size_px / 512
    tree, catheter = (Image.new("L", (size_px, size_px)) for _ in range(2))
    pen = ImageDraw.Draw(tree)

    def line(points: list[tuple[int, int]], width_px: int) -> None:
        pen.line([(x * scale, y * scale) for x, y in points], fill=1, width=int(width_px * scale))

    line([(120, 120), (250, 200), (330, 400)], 12)
    line([(250, 200), (430, 240)], 8)
    line([(290, 300), (150, 380), (120, 460)], 4)
    ImageDraw.Draw(catheter).line(
        [(120 * scale, 0), (120 * scale, 120 * scale)], fill=1, width=int(8 * scale)
    )
    return np.array(tree, dtype=bool), np.array(catheter, dtype=bool)


def label(seed: int, size_px: int = 512) -> np.ndarray:
    everything = np.ones((size_px, size_px), dtype=bool)
    return pseudo_label(*drawn_tree(size_px), everything, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def labels() -> list[np.ndarray]:
    return [label(seed) for seed in range(30)]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("size_px", [512, 1024])
def test_a_label_is_512_square_whatever_the_frame(size_px):
    found = label(0, size_px)
    assert found.shape == (LABEL_SIZE_PX, LABEL_SIZE_PX)
    assert found.dtype == bool


def test_the_same_generator_gives_the_same_label(labels):
    for seed in range(3):
        np.testing.assert_array_equal(label(seed), labels[seed])


def test_a_label_does_not_depend_on_the_number_of_threads(labels):
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            np.testing.assert_array_equal(label(0), labels[0])
    finally:
        cv2.setNumThreads(before)


def test_labels_are_good_but_not_true(labels):
    tree, _ = drawn_tree()
    scores = [dice(found, tree) for found in labels]
    assert 0.78 < np.mean(scores) < 0.93
    assert max(scores) < 0.99
    assert np.std(scores) > 0.02


def test_thin_branches_suffer_more_than_the_trunk(labels):
    tree, _ = drawn_tree()
    found = np.mean(labels, axis=0)
    trunk, thin = np.s_[150:180, :], np.s_[400:450, :]
    assert found[trunk][tree[trunk]].mean() > found[thin][tree[thin]].mean() + 0.1


def test_a_piece_of_the_catheter_is_taken_for_vessel_in_a_part_of_the_labels(labels):
    tree, catheter = drawn_tree()
    shaft = catheter & ~tree
    assert 0.3 < np.mean([found[shaft].mean() > 0.1 for found in labels]) < 0.9
    assert all(found[:40][shaft[:40]].mean() < 0.5 for found in labels)


def test_some_labels_have_islands_far_from_every_vessel(labels):
    tree, catheter = drawn_tree()
    rows, columns = np.nonzero(tree | catheter)
    far = np.ones_like(tree)
    for row, column in zip(rows[::7], columns[::7], strict=True):
        far[max(row - 25, 0) : row + 25, max(column - 25, 0) : column + 25] = False
    areas = [int(found[far].sum()) for found in labels]
    assert sum(area > 0 for area in areas) > 10
    assert max(areas) < 2000


def test_a_large_frame_is_sampled_at_the_labels_own_pixel_centres():
    tree, _ = drawn_tree(1024)
    scores = [dice(label(seed, 1024), tree[1::2, 1::2]) for seed in range(4)]
    assert np.mean(scores) > 0.75


def test_an_empty_picture_has_no_vessel_but_islands():
    empty = np.zeros((512, 512), bool)
    found = pseudo_label(empty, empty, ~empty, np.random.default_rng(1))
    assert found.mean() < 0.01


def test_nothing_is_drawn_under_a_blade():
    field = np.zeros((1024, 1024), dtype=bool)
    field[200:900, 240:1024] = True
    for seed in range(10):
        drawn = pseudo_label(*drawn_tree(1024), field, np.random.default_rng(seed))
        assert drawn.any()
        assert not drawn[:100].any()
        assert not drawn[450:].any()
        assert not drawn[:, :120].any()
