"""Drawn scenes as SAM 3's training data: nothing is read, every epoch has scenes of its own.

Conventions
-----------
Scene numbers below :data:`HELD_OUT` are for training, epoch after epoch without a repetition;
those from there on are for validation. A query's category is the place of its family in
:data:`FAMILIES`, so that scores can be broken down by it.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sam3.train.data.sam3_image_dataset import (
    Datapoint,
    FindQueryLoaded,
    Image,
    InferenceMetadata,
    Object,
)
from torch.utils.data import Dataset

from sam3_angio.detector.queries import Picture, ToTensors
from sam3_angio.scenes import SceneQuery, scene_queries
from sam3_angio.scenes.phrases import Family
from sam3_angio.scenes.questions import Lesson

FAMILIES: tuple[Family, ...] = get_args(Family)
HELD_OUT = 10**9


class DrawnScenes(Dataset[Datapoint]):
    """Scenes with phrases and masks, drawn when they are asked for.

    Parameters
    ----------
    first : int
        Number of the first scene.
    scenes : int
        Scenes of an epoch.
    side_px : int
        Side of the picture.
    positives, negatives : int
        True and false phrases of a scene, at most.
    words : {"nouns", "all"}
        What kinds of phrases are asked.
    fresh : bool
        Whether each epoch goes on to new scenes.
    """

    def __init__(
        self,
        *,
        first: int,
        scenes: int,
        side_px: int,
        positives: int,
        negatives: int,
        words: Lesson,
        fresh: bool,
    ) -> None:
        self._first = first
        self._scenes = scenes
        self._side_px = side_px
        self._positives = positives
        self._negatives = negatives
        self._words = words
        self._fresh = fresh
        self._epoch = 0
        self._finish = ToTensors()

    def __len__(self) -> int:
        return self._scenes

    def set_epoch(self, epoch: int) -> None:
        """Go on to the scenes of an epoch."""
        self._epoch = epoch if self._fresh else 0

    def name_of(self, image_id: int) -> str:
        """Return what to call a scene in a message."""
        return f"scene {image_id}"

    def __getitem__(self, index: int) -> Datapoint:
        """Draw a scene with its queries."""
        number = self._first + self._epoch * self._scenes + index
        scene, asked = scene_queries(
            number, self._side_px, self._positives, self._negatives, self._words
        )
        objects = [_object(mask) for query in asked for mask in query.masks]
        queries, place = [], 0
        for query in asked:
            answers = list(range(place, place + len(query.masks)))
            queries.append(_query(query, number, self._side_px, answers))
            place += len(query.masks)
        size = (self._side_px, self._side_px)
        image = Image(data=Picture(scene.image), objects=objects, size=size)
        return self._finish(Datapoint(find_queries=queries, images=[image]), epoch=self._epoch)


def _object(mask: NDArray[np.bool_]) -> Object:
    segment = torch.from_numpy(mask.astype(np.uint8))
    return Object(
        bbox=torch.zeros(4), area=float(mask.sum()), object_id=0, frame_index=0, segment=segment
    )


def _query(query: SceneQuery, number: int, side_px: int, answers: list[int]) -> FindQueryLoaded:
    details = InferenceMetadata(
        coco_image_id=number,
        original_image_id=number,
        original_category_id=FAMILIES.index(query.family),
        original_size=(side_px, side_px),
        object_id=0,
        frame_index=0,
    )
    return FindQueryLoaded(
        query_text=query.phrase,
        image_id=0,
        object_ids_output=answers,
        is_exhaustive=True,
        is_pixel_exhaustive=True,
        query_processing_order=0,
        inference_metadata=details,
    )
