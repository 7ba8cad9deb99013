"""Pretraining on drawn scenes: what is drawn, what is scored, and which weights are found."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from sam3_angio.detector import weights  # noqa: E402
from sam3_angio.detector.drawn import FAMILIES, HELD_OUT, DrawnScenes  # noqa: E402
from sam3_angio.detector.pretraining import (  # noqa: E402
    HeldOutAnswer,
    held_out_scores,
    lesson_recipe,
    lessons,
)
from sam3_angio.errors import ConfigError  # noqa: E402
from sam3_angio.scenes import scene_queries  # noqa: E402

pytestmark = pytest.mark.torch


def _scenes(*, fresh: bool) -> DrawnScenes:
    return DrawnScenes(
        first=40, scenes=3, side_px=128, positives=2, negatives=2, words="nouns", fresh=fresh
    )


def _numbers(scenes: DrawnScenes) -> list[int]:
    return [
        scenes[place].find_queries[0].inference_metadata.original_image_id
        for place in range(len(scenes))
    ]


def test_each_epoch_of_training_draws_new_scenes_and_validation_the_same():
    training, validation = _scenes(fresh=True), _scenes(fresh=False)
    for epoch, expected in ((0, [40, 41, 42]), (1, [43, 44, 45]), (5, [55, 56, 57])):
        training.set_epoch(epoch)
        validation.set_epoch(epoch)
        assert _numbers(training) == expected
        assert _numbers(validation) == [40, 41, 42]


def test_a_sample_has_the_phrases_and_masks_of_its_scene():
    scene, asked = scene_queries(41, 128, 2, 2, "nouns")
    sample = _scenes(fresh=False)[1]
    assert [query.query_text for query in sample.find_queries] == [query.phrase for query in asked]
    for found, query in zip(sample.find_queries, asked, strict=True):
        masks = [sample.images[0].objects[place].segment for place in found.object_ids_output]
        assert len(masks) == len(query.masks)
        for mask, expected in zip(masks, query.masks, strict=True):
            assert torch.equal(mask.bool(), torch.from_numpy(expected))
        assert FAMILIES[found.inference_metadata.original_category_id] == query.family
    assert torch.equal(sample.images[0].data[0], torch.from_numpy(scene.image))


def test_each_lesson_starts_from_the_one_before_and_at_its_own_size(tmp_path: Path):
    course = lessons()
    recipes = [lesson_recipe(number, tmp_path) for number in range(len(course))]
    assert recipes[0].trainer.initial is None
    for before, recipe in pairwise(recipes):
        folder = Path(before.scratch.run.folder)
        assert Path(recipe.trainer.initial) == folder / "weights.pt"
    for lesson, recipe in zip(course, recipes, strict=True):
        assert recipe.trainer.max_epochs == lesson["epochs"]
        assert recipe.trainer.model.resolution_px == lesson["side_px"]
        for scenes in (recipe.trainer.data.train.dataset, recipe.trainer.data.validation):
            assert (scenes.side_px, scenes.words) == (lesson["side_px"], lesson["words"])


def test_no_scene_is_drawn_twice_and_none_is_held_out(tmp_path: Path):
    ranges = []
    for number in range(len(lessons())):
        recipe = lesson_recipe(number, tmp_path)
        scenes = recipe.trainer.data.train.dataset
        ranges.append((scenes.first, scenes.first + scenes.scenes * recipe.trainer.max_epochs))
        assert recipe.trainer.data.validation.first >= HELD_OUT
    assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
    assert ranges[-1][1] <= HELD_OUT


def test_held_out_scores_by_hand():
    rows = [(True, 0.9, 0.8), (True, 0.4, 0.6), (False, 0.6, None), (False, 0.1, None)]
    found = [
        HeldOutAnswer(family="tube", present=present, presence=presence, dice=dice)
        for present, presence, dice in rows
    ]
    scores = held_out_scores(found)
    expected = {
        "n_true": 2,
        "n_false": 2,
        "auc": 0.75,  # of four pairs only (0.4, 0.6) is in the wrong order
        "recall": 0.5,
        "false_positive_rate": 0.5,
        "dice": 0.7,
    }
    assert scores["all"] == scores["tube"] == expected
    assert scores["fork"] == {
        "n_true": 0,
        "n_false": 0,
        "auc": None,
        "recall": None,
        "false_positive_rate": None,
        "dice": None,
    }


def test_no_checkpoint_and_a_file_are_found_and_a_missing_file_is_refused(tmp_path: Path):
    path = tmp_path / "own.pt"
    path.write_bytes(b"weights")
    assert weights.resolve("none") is None
    assert weights.resolve(str(path)) == path
    with pytest.raises(ConfigError, match="no such file"):
        weights.resolve(str(tmp_path / "other.pt"))


def test_damaged_packaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "_FOLDER", tmp_path)
    with pytest.raises(ConfigError, match="missing"):
        weights.resolve("tiny")
    (tmp_path / "tiny.pt").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "tiny.json").write_text(json.dumps({"sha256": digest}))
    assert weights.resolve("tiny") == tmp_path / "tiny.pt"
    (tmp_path / "tiny.pt").write_bytes(b"weightz")
    with pytest.raises(ConfigError, match="damaged"):
        weights.resolve("tiny")
