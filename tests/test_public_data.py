"""ARCADE and other COCO sets as a data set that the training stages read."""

import csv
import json

import numpy as np
import pytest
from arcade_files import SYNTAX, box, write_arcade, write_set
from pycocotools import mask as coco_mask

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.coco import decode_mask, load_document
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.exchange.foreign_coco import ForeignImage, ForeignMark, Runs, mark_mask
from sam3_angio.exchange.public_data import PublicSet, arcade_sets, import_sets, read_mapping


@pytest.fixture
def imported(tmp_path):
    sets = arcade_sets(write_arcade(tmp_path / "arcade"))
    return import_sets(sets, tmp_path / "dataset"), tmp_path / "dataset"


def document(folder, split, task):
    return load_document(folder / split / task / "annotations.json")


def test_arcades_own_split_is_kept(imported):
    summary, folder = imported
    assert summary.frames == {"train": 3, "val": 2, "test": 1}
    with (folder / "split.csv").open() as stream:
        rows = {row["frame_id"]: row["split"] for row in csv.DictReader(stream)}
    assert rows["arcade-syntax-val-1"] == "val"
    assert rows["arcade-stenosis-val-7"] == "val"
    assert len(rows) == 6


def test_segments_have_cass_numbers_and_the_rest_keeps_its_syntax_name(imported):
    _, folder = imported
    named = document(folder, "train", "segments")
    marks = [(mark.image_id, mark.category_id, mark.noun_phrase) for mark in named.annotations]
    assert marks == [(1, 12, "proximal LAD"), (1, 13, "mid LAD"), (2, 1, "proximal RCA")]
    kept = document(folder, "train", "source")
    assert "SYNTAX 9a" in {mark.noun_phrase for mark in kept.annotations}
    assert [image.artery for image in named.images] == ["LCA", "RCA"]


def test_all_parts_of_a_polygon_and_all_annotations_of_a_vessel_are_one_mask(imported):
    _, folder = imported
    areas = {m.category_id: m.area for m in document(folder, "train", "segments").annotations}
    assert areas == {12: 80, 13: 80, 1: 160}
    tree = document(folder, "train", "vessel_tree").annotations[0]
    assert tree.area == 80 + 80 + 40


def test_each_stenosis_is_an_instance_and_its_frame_is_no_example_of_absent_segments(imported):
    _, folder = imported
    lesions = document(folder, "train", "lesions")
    assert len(lesions.annotations) == 2
    assert {mark.category_id for mark in lesions.annotations} == {100}
    frames = {image.frame_id for image in document(folder, "train", "segments").images}
    assert "arcade-stenosis-train-1" not in frames
    assert document(folder, "train", "findings").images == ()


def test_every_analysed_segment_has_a_syntax_segment():
    meanings = arcade_meanings()
    assert set(analysed_segments()) <= set(meanings.values())
    numbers = [value for value in meanings.values() if isinstance(value, int)]
    assert len(set(numbers)) == len(numbers)
    right = {"1", "2", "3", "4", "16", "16a", "16b", "16c"}
    for name, number in meanings.items():
        if isinstance(number, int):
            assert (segments()[number].artery == "RCA") == (name in right)


def arcade_meanings():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "syntax").mkdir()
        (one,) = arcade_sets(Path(folder))
    assert set(one.meanings) == set(SYNTAX)
    return one.meanings


def test_polygons_fill_the_pixels_that_pycocotools_fills():
    image = ForeignImage(id=1, file_name="1.png", width=40, height=30)
    parts = (tuple(box(3, 4, 10, 6)), tuple(box(20, 2, 5, 20)))
    mark = ForeignMark(id=1, image_id=1, category_id=1, segmentation=parts)
    codes = coco_mask.frPyObjects([list(part) for part in parts], 30, 40)
    expected = coco_mask.decode(coco_mask.merge(codes)).astype(bool)
    np.testing.assert_array_equal(mark_mask(mark, image), expected)


def test_uncompressed_runs_count_columns_first():
    image = ForeignImage(id=1, file_name="1.png", width=3, height=2)
    runs = Runs(size=(2, 3), counts=(1, 2, 3))
    mark = ForeignMark(id=1, image_id=1, category_id=1, segmentation=runs)
    assert mark_mask(mark, image).tolist() == [[False, True, False], [True, False, False]]


def test_all_faults_of_a_document_are_said_at_once_and_nothing_is_written(tmp_path):
    folder = write_arcade(tmp_path / "arcade")
    path = folder / "syntax" / "train" / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["image_id"] = 99
    content["annotations"][1]["category_id"] = 77
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        import_sets(arcade_sets(folder), tmp_path / "dataset")
    assert len(error.value.faults) == 2
    assert not (tmp_path / "dataset").exists()


def test_a_picture_of_another_size_is_refused(tmp_path):
    folder = write_arcade(tmp_path / "arcade")
    path = folder / "syntax" / "val" / "annotations" / "val.json"
    path.write_text(path.read_text().replace('"width": 64', '"width": 65'))
    with pytest.raises(DataError, match="64×64 pixels; the document says 65×64"):
        import_sets(arcade_sets(folder), tmp_path / "dataset")


def test_a_folder_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "dataset").mkdir()
    with pytest.raises(ConfigError):
        import_sets(arcade_sets(write_arcade(tmp_path / "arcade")), tmp_path / "dataset")


def test_another_coco_set_is_read_by_its_mapping(tmp_path):
    write_set(
        tmp_path / "other", "train", {1: [("1", [box(4, 4, 9, 4)]), ("2", [box(4, 9, 9, 4)])]}
    )
    table = tmp_path / "mapping.csv"
    table.write_text("category,means\n1,tree\n2,15\n")
    one = PublicSet(name="other", folder=tmp_path / "other", meanings=read_mapping(table))
    import_sets([one], tmp_path / "dataset")
    (mark,) = document(tmp_path / "dataset", "train", "segments").annotations
    assert mark.category_id == 15
    (tree,) = document(tmp_path / "dataset", "train", "vessel_tree").annotations
    assert decode_mask(tree.segmentation).sum() == 72


def test_a_mapping_names_every_wrong_row(tmp_path):
    table = tmp_path / "mapping.csv"
    table.write_text("category,means\nLAD,99\nRCA,artery\nRCA,1\n")
    with pytest.raises(DataError) as error:
        read_mapping(table)
    assert [fault.row for fault in error.value.faults] == [2, 3]
