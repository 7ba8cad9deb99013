"""A pseudo-label is compared with the pixels that it was drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_angio.checking.finding import Finding, Notes
from sam3_angio.checking.picture import picture_findings

SIDE = 256


def frame() -> tuple[np.ndarray, np.ndarray]:
    """Return a picture with two dark vessels and noise, and the mask of the vessels."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    one = np.abs(y - 0.15 - 0.5 * x**2) < 0.015
    other = (np.abs(x - 0.3 - 0.2 * y) < 0.012) & (y > 0.3)
    mask = one | other
    picture = 150 + 30 * np.sin(2 * x) - 40 * mask
    picture = picture + np.random.default_rng(0).normal(0, 6, mask.shape)
    return picture.clip(0, 255).astype(np.uint8), mask


def found(picture: np.ndarray, mask: np.ndarray, covered: float = float("nan")) -> list[Finding]:
    notes = Notes(file="table.csv", row=2)
    picture_findings(picture, mask, notes, covered=covered)
    return notes.findings


def test_a_label_on_the_vessels_is_let_pass():
    picture, mask = frame()
    assert found(picture, mask) == []
    assert found(picture, np.zeros_like(mask)) == []
    assert found(picture, np.ones_like(mask)) == []


def test_a_label_of_another_size_is_compared_at_its_own():
    picture, mask = frame()
    assert found(np.kron(picture, np.ones((2, 2), np.uint8)), mask) == []


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("pixels", [-9, -2, 3, 12])
def test_a_shifted_label_is_told_by_how_much(axis, pixels):
    picture, mask = frame()
    (one,) = found(picture, np.roll(mask, pixels, axis))
    shift = (0, pixels) if axis == 0 else (pixels, 0)
    assert (one.severity, one.found) == (
        "warning", f"the pseudo-label is shifted by {shift} px against the picture."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (np.fliplr, "mirrored left to right"),
        (np.flipud, "mirrored top to bottom"),
        (np.transpose, "mirrored along a diagonal"),
    ],
)
def test_a_mirrored_label_is_an_error(change, how):
    picture, mask = frame()
    (one,) = found(picture, change(mask))
    assert (one.severity, one.found) == ("error", f"the pseudo-label looks {how}.")


def elsewhere() -> np.ndarray:
    """Return two vessels that are not in the frame, whatever side one looks from."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    return (np.abs(y - 0.9 + 0.1 * x) < 0.012) | ((np.abs(x - 0.55) < 0.012) & (y < 0.08))


def test_a_label_of_another_frame_is_told():
    (one,) = found(frame()[0], elsewhere())
    assert one.found == "the pseudo-label does not lie on the vessels of this frame."


@pytest.mark.parametrize("pixels", [60, 100])
def test_a_label_that_is_shifted_by_far_is_told(pixels):
    picture, mask = frame()
    assert found(picture, np.roll(mask, pixels, 0))


def test_a_label_is_judged_alike_whatever_the_window():
    picture, mask = frame()
    for contrast in (0.5, 1.0):
        pale = (128 + contrast * (picture.astype(float) - 128)).astype(np.uint8)
        assert found(pale, mask) == []
        assert len(found(pale, elsewhere())) == 1


def test_a_label_beside_the_analysed_segment_must_be_darker():
    picture, mask = frame()
    faint = np.where(np.arange(SIDE) % 8, elsewhere(), mask)  # 0.7 standard deviations
    assert found(picture, faint, covered=0.9) == []
    assert found(picture, faint, covered=0.1)


def test_an_inverted_picture_is_told():
    picture, mask = frame()
    (one,) = found(255 - picture, mask)
    assert one.found == "the picture looks inverted."


def test_a_picture_without_contrast_is_not_judged():
    noise = np.random.default_rng(1).integers(100, 110, (SIDE, SIDE), np.uint8)
    assert found(noise, frame()[1]) == []
