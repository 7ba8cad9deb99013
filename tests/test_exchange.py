"""Masks to annotation tools and back; the raw data set of nnU-Net."""

import json

import numpy as np
import pytest
from arcade_files import box, write_arcade, write_set
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.exchange.annotation_tools import (
    Handover,
    Marked,
    export_masks,
    slit_polygons,
)
from sam3_angio.exchange.arcade_answers import read_outlines
from sam3_angio.exchange.corrections import import_corrections
from sam3_angio.exchange.foreign_coco import parts_mask
from sam3_angio.exchange.nnunet import export_nnunet
from sam3_angio.exchange.public_data import arcade_sets, import_sets
from sam3_angio.label_mask import read_mask, write_mask
from sam3_angio.scoring.arcade import official_segments

FRAMES = ("p0000000001-00000001", "p0000000002-00000002")


def tree(hole=False):
    mask = np.zeros((40, 60), bool)
    mask[5:20, 10:30] = True
    mask[25:30, 40:50] = True
    mask[0, 0] = mask[1, 1] = True
    mask[10:12, 15:20] = not hole
    return mask


@pytest.fixture
def site(tmp_path):
    (tmp_path / "frames").mkdir()
    for frame in FRAMES:
        Image.fromarray(np.full((40, 60), 90, np.uint8)).save(tmp_path / "frames" / f"{frame}.png")
        (tmp_path / "pseudo").mkdir(exist_ok=True)
        write_mask(tmp_path / "pseudo" / f"{frame}.png", tree())
    return tmp_path


def handover(mask):
    return Handover(
        sizes_px=tuple((frame, 40, 60) for frame in FRAMES),
        labels=(TREE_PHRASE,),
        marks=tuple(Marked(frame_id=frame, label=TREE_PHRASE, mask=mask) for frame in FRAMES),
    )


def exported(site, form, mask=None):
    out = site / form
    lowest = export_masks(handover(tree() if mask is None else mask), site / "frames", out, form)
    names = {
        "cvat": "annotations/instances_default.json",
        "fiftyone": "labels.json",
        "label-studio": "tasks.json",
    }
    return out / names[form], lowest


def back(site, path, form):
    return import_corrections(path, form, site / "pseudo", site / "corrections.csv")


@pytest.mark.parametrize("form", ["cvat", "fiftyone", "label-studio"])
def test_what_is_not_corrected_comes_back_unchanged(site, form):
    before = {path.name: path.read_bytes() for path in (site / "pseudo").iterdir()}
    path, lowest = exported(site, form)
    assert lowest == 1
    done = back(site, path, form)
    assert (done.changed, done.unchanged, done.skipped) == ((), 2, 0)
    assert before == {path.name: path.read_bytes() for path in (site / "pseudo").iterdir()}


@pytest.mark.parametrize("form", ["cvat", "fiftyone", "label-studio"])
def test_a_corrected_frame_is_written_and_listed(site, form):
    wider = tree()
    wider[5:20, 30:32] = True
    path, _ = exported(site, form, wider)
    content = json.loads(path.read_text())
    if form == "label-studio":
        content[1]["annotations"][0]["result"] = []
    else:
        content["annotations"].pop()
    path.write_text(json.dumps(content))
    done = back(site, path, form)
    (change,) = done.changed
    assert (change.frame_id, change.added_px, change.removed_px) == (FRAMES[0], 30, 0)
    assert done.skipped == 1
    np.testing.assert_array_equal(read_mask(site / "pseudo" / f"{FRAMES[0]}.png").mask, wider)
    np.testing.assert_array_equal(read_mask(site / "pseudo" / f"{FRAMES[1]}.png").mask, tree())
    assert (site / "corrections.csv").read_text().splitlines()[1].startswith(FRAMES[0])


def test_cvats_crowd_marks_are_counted_and_mean_nothing(site):
    path, _ = exported(site, "cvat")
    assert back(site, path, "cvat").crowds == 2


def test_polygons_keep_holes_by_slits_without_width(site):
    mask = tree(hole=True)
    mask[27, 44:47] = False
    _, lowest = exported(site, "label-studio", mask)
    assert lowest == 1


@settings(deadline=None)
@given(arrays(bool, (12, 14)))
def test_polygons_of_any_mask_draw_that_mask(mask):
    parts = [part.ravel().tolist() for part in slit_polygons(mask)]
    np.testing.assert_array_equal(parts_mask(parts, mask.shape), mask)


def test_run_lengths_are_those_of_pycocotools(site):
    path, _ = exported(site, "fiftyone")
    for mark in json.loads(path.read_text())["annotations"]:
        code = coco_mask.frPyObjects(mark["segmentation"], 40, 60)
        np.testing.assert_array_equal(coco_mask.decode(code).astype(bool), tree())
        assert coco_mask.toBbox(code).tolist() == mark["bbox"]


def test_names_that_label_studio_prefixes_are_recognised(site):
    path, _ = exported(site, "label-studio")
    path.write_text(path.read_text().replace("images/p", "/data/upload/3/4f9a1c22-p"))
    assert back(site, path, "label-studio").unchanged == 2


def test_corrections_of_other_frames_or_labels_change_nothing(site):
    path, _ = exported(site, "cvat")
    text = path.read_text()
    path.write_text(text.replace(FRAMES[0], "p0000000009-00000009"))
    with pytest.raises(DataError, match="no pseudo-label"):
        back(site, path, "cvat")
    path.write_text(text.replace(TREE_PHRASE, "catheter"))
    with pytest.raises(DataError, match="other labels"):
        back(site, path, "cvat")
    assert not (site / "corrections.csv").exists()


def test_nnunet_gets_every_frame_and_the_projects_split(tmp_path):
    import_sets(arcade_sets(write_arcade(tmp_path / "arcade")), tmp_path / "dataset")
    out = tmp_path / "Dataset501_Coronary"
    assert export_nnunet(tmp_path / "dataset", out) == {"train": 2, "val": 1}
    description = json.loads((out / "dataset.json").read_text())
    assert description["numTraining"] == len(list((out / "imagesTr").iterdir())) == 3
    assert set(np.unique(Image.open(next((out / "labelsTr").iterdir())))) == {0, 1}
    (fold,) = json.loads((out / "splits_final.json").read_text())
    for name in fold["train"] + fold["val"]:
        assert (out / "imagesTr" / f"{name}_0000.png").is_file()
        assert (out / "labelsTr" / f"{name}.png").is_file()
    with pytest.raises(ConfigError):
        export_nnunet(tmp_path / "dataset", tmp_path / "coronary")


def test_answers_are_scored_from_arcades_own_documents(tmp_path):
    marks = {1: [("6", [box(4, 4, 20, 4)])]}
    half = {1: [("6", [box(4, 4, 10, 4)])]}
    for name, labels in (("reference", marks), ("answers", half)):
        write_set(tmp_path / name, "val", labels)
    paths = [tmp_path / n / "val" / "annotations" / "val.json" for n in ("reference", "answers")]
    assert official_segments(*read_outlines(*paths)).mean == pytest.approx(2 / 3)
