"""A miniature of ARCADE: its folders, its categories, polygons of several parts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SYNTAX = (
    *("1", "2", "3", "4", "5", "6", "7", "8", "9", "9a", "10", "10a", "11", "12", "12a", "13"),
    *("14", "14a", "15", "16", "16a", "16b", "16c", "12b", "14b", "stenosis"),
)
CATEGORIES = [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(SYNTAX, 1)]
SIDE = 64


def box(x: float, y: float, width: float, height: float) -> list[float]:
    """Return a rectangle's corners as COCO has them."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def write_set(folder: Path, split: str, marks: dict[int, list[tuple[str, list[list[float]]]]]):
    """Write one split: a picture a key, its annotations as (SYNTAX name, polygons)."""
    (folder / split / "images").mkdir(parents=True)
    (folder / split / "annotations").mkdir()
    images, annotations = [], []
    for number, labels in marks.items():
        name = f"{number}.png"
        Image.fromarray(np.full((SIDE, SIDE), number, np.uint8)).save(
            folder / split / "images" / name
        )
        images.append(
            {
                "id": number,
                "width": SIDE,
                "height": SIDE,
                "file_name": name,
                "license": 0,
                "flickr_url": "",
                "coco_url": "",
                "date_captured": 0,
            }
        )
        for category, polygons in labels:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "iscrowd": 0,
                    "area": 1.0,
                    "category_id": SYNTAX.index(category) + 1,
                    "segmentation": polygons,
                    "bbox": [0, 0, 1, 1],
                    "attributes": {"occluded": False},
                }
            )
    content = {
        "licenses": [],
        "info": {},
        "categories": CATEGORIES,
        "images": images,
        "annotations": annotations,
    }
    (folder / split / "annotations" / f"{split}.json").write_text(json.dumps(content))


def write_arcade(folder: Path) -> Path:
    """Write both sets; the left coronary artery has a segment that CASS does not know."""
    left = [
        ("6", [box(4, 4, 20, 4)]),
        ("7", [box(24, 4, 10, 4), box(40, 4, 10, 4)]),
        ("9a", [box(10, 20, 4, 10)]),
    ]
    right = [("1", [box(4, 40, 30, 4)]), ("1", [box(34, 40, 10, 4)])]
    write_set(folder / "syntax", "train", {1: left, 2: right})
    write_set(folder / "syntax", "val", {1: right})
    write_set(folder / "syntax", "test", {1: left})
    write_set(folder / "stenosis", "train", {1: [("stenosis", [box(8, 8, 6, 4)])] * 2})
    write_set(folder / "stenosis", "val", {7: [("stenosis", [box(8, 8, 6, 4)])]})
    return folder
