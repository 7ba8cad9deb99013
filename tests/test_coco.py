"""Masks as run-length codes, and the documents that hold them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from sam3_angio.coco import (
    Category,
    Document,
    ImageEntry,
    Rle,
    annotate,
    decode_mask,
    encode_mask,
    load_document,
    mask_box,
    measure_rle,
    of_images,
    write_document,
)
from sam3_angio.errors import DataError

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


def image(number: int, height: int = 6, width: int = 5) -> ImageEntry:
    return ImageEntry(
        id=number,
        file_name=f"f{number}.png",
        width=width,
        height=height,
        frame_id=f"f{number}",
        patient="p",
        artery="RCA",
        cass_segment=2,
        primary_deg=-30.0,
        secondary_deg=0.0,
        spacing_row_mm=0.2,
        spacing_column_mm=None,
    )


def document() -> Document:
    mask = np.zeros((6, 5), dtype=bool)
    mask[2:4, 1:4] = True
    marks = [
        annotate(mask, annotation_id=n, image_id=n, category_id=2, phrase="mid RCA") for n in (1, 2)
    ]
    return Document(
        images=(image(1), image(2)),
        annotations=tuple(marks),
        categories=(Category(id=2, name="mid RCA"),),
    )


@given(masks)
@example(np.zeros((1, 1), dtype=bool))
@example(np.ones((40, 40), dtype=bool))
@example(np.ones((3000, 1), dtype=bool))
def test_decoding_undoes_encoding(mask: np.ndarray) -> None:
    assert (decode_mask(encode_mask(mask)) == mask).all()


@given(masks)
def test_codes_mean_to_pycocotools_what_they_mean_here(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    code = {"size": list(rle.size), "counts": rle.counts}
    assert (coco_mask.decode(code).astype(bool) == mask).all()
    assert coco_mask.area(code) == mask.sum()
    assert tuple(coco_mask.toBbox(code)) == mask_box(mask)


@given(masks)
def test_area_and_box_come_from_the_runs_alone(mask: np.ndarray) -> None:
    assert measure_rle(encode_mask(mask)) == (mask.sum(), mask_box(mask))


@given(st.text(alphabet="0123456789", max_size=8))
@example("001")
def test_runs_of_no_length_change_neither_area_nor_box(counts: str) -> None:
    code = Rle(size=(3, 4), counts=counts)
    try:
        mask = decode_mask(code)
    except ValueError:
        return
    assert measure_rle(code) == (mask.sum(), mask_box(mask))


def test_large_sparse_masks_survive() -> None:
    # Runs beyond a million pixels need five characters and negative differences.
    mask = np.zeros((4096, 4096), dtype=bool)
    mask[0, 0] = mask[17, 3000] = mask[4095, 4095] = True
    assert (decode_mask(encode_mask(mask)) == mask).all()


def test_columns_come_first_and_zeros_first() -> None:
    # Column 0 is 0, 1; column 1 is 1, 0: runs 1 (zero), 2 (ones), 1 (zero).
    assert encode_mask(np.array([[False, True], [True, False]])).counts == "121"


def test_anything_above_zero_counts() -> None:
    grey = np.array([[0, 1, 2, 255]], dtype=np.uint8)
    assert (decode_mask(encode_mask(grey)) == [[False, True, True, True]]).all()  # type: ignore[arg-type]


def test_a_single_pixel_has_a_box_of_one() -> None:
    mask = np.zeros((6, 5), dtype=bool)
    mask[4, 3] = True
    assert mask_box(mask) == (3, 4, 1, 1)


@pytest.mark.parametrize(
    "counts", ["", "12", "1211", "P", "0P", "o" * 20 + "0", "oooooo0", "O", "\u00ff", " ", "0" * 9]
)
def test_a_malformed_code_is_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="run"):
        decode_mask(Rle(size=(2, 2), counts=counts))


@given(st.text(alphabet=[chr(48 + n) for n in range(64)], max_size=30))
@settings(max_examples=300)
def test_any_code_is_refused_or_fills_the_frame(counts: str) -> None:
    try:
        mask = decode_mask(Rle(size=(7, 9), counts=counts))
    except ValueError:
        return
    assert mask.shape == (7, 9)
    assert (decode_mask(encode_mask(mask)) == mask).all()


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 2, 1), (1, 40_000)])
def test_what_is_no_mask_is_not_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two sides"):
        encode_mask(np.zeros(shape, dtype=bool))


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_document(tmp_path / "d.json", document())
    assert load_document(tmp_path / "d.json") == document()


def test_pycocotools_loads_a_document(tmp_path: Path) -> None:
    write_document(tmp_path / "d.json", document())
    loaded = COCO(str(tmp_path / "d.json"))
    assert loaded.getAnnIds(imgIds=[2], catIds=[2]) == [2]
    assert loaded.annToMask(loaded.anns[1]).sum() == 6


def test_a_part_keeps_ids_and_categories() -> None:
    part = of_images(document(), [2])
    assert [entry.id for entry in part.images] == [2]
    assert [mark.id for mark in part.annotations] == [2]
    assert part.categories == document().categories


def _set(path: str, value: object) -> Any:
    def change(content: Any) -> None:
        *parents, last = (int(p) if p.isdigit() else p for p in path.split("."))
        for parent in parents:
            content = content[parent]
        if value is _MISSING:
            del content[last]
        else:
            content[last] = value

    return change


_MISSING = object()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("annotations.0.image_id", 9), "its image is not in the document"),
        (_set("annotations.0.category_id", 9), "its category is not in the document"),
        (_set("annotations.0.segmentation.size", [5, 6]), "another size than its image"),
        (_set("annotations.0.segmentation.counts", "1"), "do not add up"),
        (_set("annotations.0.segmentation.counts", [1, 2]), "valid string"),
        (_set("annotations.0.segmentation", [[0, 0, 1, 1, 2, 2]]), "valid .*object|be an object"),
        (_set("annotations.0.area", 7), "area or box are not the mask's"),
        (_set("annotations.0.bbox", [0, 0, 5, 6]), "area or box are not the mask's"),
        (_set("annotations.0.iscrowd", 1), "should be 0"),
        (_set("annotations.0.id", 2), "an id occurs twice"),
        (_set("annotations.0.id", _MISSING), "required|missing"),
        (_set("images.0.id", 2), "an id occurs twice"),
        (_set("images.0.frame_id", "f2"), "an id occurs twice"),
        (_set("images.0.file_name", "../f1.png"), "pattern"),
        (_set("images.0.width", 2**31), "less than or equal"),
        (_set("images.0.artery", "LAD"), "'RCA' or 'LCA'"),
        (_set("categories", []), "its category is not in the document"),
        (_set("categories", {}), "valid tuple|valid array"),
    ],
)
def test_a_faulty_document_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    content = json.loads(json.dumps(asdict(document())))
    change(content)
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        load_document(tmp_path / "d.json")


def test_a_faulty_document_is_not_written(tmp_path: Path) -> None:
    broken = replace(document(), categories=())
    with pytest.raises(DataError, match="would not be valid"):
        write_document(tmp_path / "d.json", broken)
    assert list(tmp_path.iterdir()) == []


def test_the_source_of_the_spacing_survives(tmp_path: Path) -> None:
    known = replace(image(1), spacing_column_mm=0.3, spacing_source="calibration")
    path = tmp_path / "document.json"
    write_document(path, replace(document(), images=(known, image(2))))
    assert [entry.spacing_source for entry in load_document(path).images] == ["calibration", None]
    assert ["spacing_source" in entry for entry in json.loads(path.read_text())["images"]] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("column_mm", "source"), [(None, "sod_sid"), (0.3, "none"), (None, "none")]
)
def test_a_source_that_the_spacing_contradicts_is_refused(
    tmp_path: Path, column_mm: float | None, source: str
) -> None:
    wrong = replace(image(1), spacing_column_mm=column_mm, spacing_source=source)
    with pytest.raises(DataError, match="contradict"):
        write_document(tmp_path / "d.json", replace(document(), images=(wrong, image(2))))
