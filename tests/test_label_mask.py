"""Masks on disk, their resizing and their overlap."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from scipy.ndimage import center_of_mass

from sam3_angio.errors import DataError
from sam3_angio.label_mask import intersection_over_union, read_mask, resize_nearest, write_mask

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(masks)
def test_a_mask_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("masks") / "mask.png"
    write_mask(path, mask)
    assert (read_mask(path).mask == mask).all()


@given(masks)
def test_resizing_to_the_same_size_changes_nothing(mask: np.ndarray) -> None:
    assert (resize_nearest(mask, mask.shape) == mask).all()


@given(masks, st.integers(1, 4))
def test_growing_by_a_whole_factor_repeats_each_pixel(mask: np.ndarray, factor: int) -> None:
    rows, columns = mask.shape
    grown = resize_nearest(mask, (rows * factor, columns * factor))
    assert (grown == mask.repeat(factor, axis=0).repeat(factor, axis=1)).all()


@given(masks, st.integers(1, 60), st.integers(1, 60))
def test_resizing_commutes_with_mirroring(mask: np.ndarray, rows: int, columns: int) -> None:
    # Halves round to even sides apart, so that only sides without ties can be compared exactly.
    grown = resize_nearest(mask, (rows * 2 * mask.shape[0], columns * 2 * mask.shape[1]))
    mirrored = resize_nearest(mask[::-1, ::-1], grown.shape)
    assert (mirrored == grown[::-1, ::-1]).all()


@pytest.mark.parametrize("side", [512, 960, 1016, 1024])
def test_a_resized_disc_stays_where_it_was(side: int) -> None:
    y, x = np.mgrid[:512, :512]
    centre = (200.0, 311.0)
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 90**2
    scale = side / 512
    expected = [(c + 0.5) * scale - 0.5 for c in centre]
    found = center_of_mass(resize_nearest(disc, (side, side)))
    assert found == pytest.approx(expected, abs=0.1)


def test_overlap_of_drawn_masks() -> None:
    first = np.array([[True, True, False]])
    second = np.array([[False, True, True]])
    assert intersection_over_union(first, second) == pytest.approx(1 / 3)
    assert intersection_over_union(first, first) == 1
    assert math.isnan(intersection_over_union(first & False, second & False))


def _saved(path: Path, mode: str = "L", **options: object) -> Path:
    Image.new(mode, (4, 3)).save(path, "PNG", **options)
    return path


def test_pictures_that_readers_disagree_on_are_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("L", (4, 3), value) for value in (0, 1)]
    frames[0].save(tmp_path / "animated.png", save_all=True, append_images=frames[1:])
    for path, message in (
        (_saved(tmp_path / "rotated.png", exif=exif), "rotated"),
        (_saved(tmp_path / "palette.png", "P"), "this one is P"),
        (_saved(tmp_path / "alpha.png", "LA"), "this one is LA"),
        (_saved(tmp_path / "rgba.png", "RGBA"), "this one is RGBA"),
        (tmp_path / "animated.png", "several"),
    ):
        with pytest.raises(DataError, match=message):
            read_mask(path)


def test_one_bit_pictures_are_masks(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    assert read_mask(tmp_path / "bit.png").mask.tolist() == [[True, False]]


@given(st.binary(max_size=200), st.sampled_from([".png", ".npy"]), st.integers(0, 200))
def test_damaged_files_end_in_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, suffix: str, place: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"mask{suffix}"
    if suffix == ".png":
        write_mask(path, np.eye(20, dtype=bool))
    else:
        np.save(path, np.eye(20, dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    try:
        mask = read_mask(path).mask
    except DataError:
        return
    assert mask.ndim == 2


def test_a_picture_that_claims_a_huge_size_is_refused_unread(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", np.eye(4, dtype=bool))
    content = bytearray((tmp_path / "mask.png").read_bytes())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    (tmp_path / "mask.png").write_bytes(bytes(content))
    with pytest.raises(DataError):
        read_mask(tmp_path / "mask.png")
