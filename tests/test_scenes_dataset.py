"""A folder of scenes can be read by pycocotools and is the same with any number of processes."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from sam3_angio.scenes import ScenePlan, scene_queries, write_scenes

PLAN = ScenePlan(count=18, first_seed=40, size_px=128, n_positive=3, n_negative=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "val"
    write_scenes(out, PLAN)
    return out


def test_the_folder_holds_what_is_drawn_on_the_fly(folder):
    coco = COCO(str(folder / "annotations.json"))
    asked = json.loads((folder / "queries.json").read_text())
    for image_id, seed in enumerate(range(40, 58), 1):
        scene, found = scene_queries(seed, 128, 3, 3)
        entry = coco.loadImgs(image_id)[0]
        image = cv2.imread(str(folder / "images" / entry["file_name"]), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(image, scene.image)
        rows = [row for row in asked if row["image_id"] == image_id]
        assert [row["phrase"] for row in rows] == [query.phrase for query in found]
        for row, query in zip(rows, found, strict=True):
            marks = [a for a in coco.imgToAnns[image_id] if a["query_id"] == row["query_id"]]
            assert bool(marks) == row["present"] == query.present
            assert coco.loadCats(row["category_id"])[0]["name"] == query.phrase
            for mark, mask in zip(marks, query.masks, strict=True):
                np.testing.assert_array_equal(coco.annToMask(mark).astype(bool), mask)


def test_two_processes_write_the_same_files(folder, tmp_path):
    write_scenes(tmp_path / "val", PLAN, processes=2)

    def digests(root):
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*")
            if path.is_file()
        }

    assert digests(tmp_path / "val") == digests(folder)


def test_a_plan_without_scenes_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="must be at least 1"):
        write_scenes(tmp_path / "none", ScenePlan(count=0, first_seed=0, size_px=128))
    with pytest.raises(ValueError, match="must be at least 96 px"):
        write_scenes(tmp_path / "none", ScenePlan(count=2, first_seed=0, size_px=8))
    assert not list(tmp_path.iterdir())
