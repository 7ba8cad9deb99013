"""Frames and phrases as SAM 3's training data.

``sam3`` builds its samples from a loader with three methods, which is where a project says what is
asked of an image and what answers it. :class:`PromptedFrames` is that loader; the pictures and the
masks come from a :class:`~sam3_angio.detector.frames.FrameStore` instead of files.

Conventions
-----------
A query is a (frame, phrase) pair; a phrase whose category has no mask in the frame is a negative.
Boxes that leave this module are ``(cx, cy, w, h)`` in fractions of the picture, as the losses want
them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sam3.train.data.sam3_image_dataset import CustomCocoDetectionAPI, Datapoint, Sam3ImageDataset

from sam3_angio.coco import Annotation, load_document
from sam3_angio.detector.frames import FrameStore
from sam3_angio.prompts import Prompt, Questions, Wording


class PromptedFrames:
    """Loader of queries and targets, by the protocol of ``sam3``'s data set.

    Parameters
    ----------
    document_path : str
        COCO document, already validated.
    store : str
        Folder of the prepared frames.
    questions : Questions
        Chooses the phrases of a frame.
    wording : Wording or None
        Puts a phrase into the words that the text encoder is given; None leaves it as it is.

    Attributes
    ----------
    epoch : int
        Which epoch's questions are asked.
    images : dict of ImageEntry
        By id.
    store : FrameStore
    """

    def __init__(
        self,
        document_path: str,
        *,
        store: str,
        questions: Questions,
        wording: Wording | None = None,
    ) -> None:
        document = load_document(Path(document_path))
        self.epoch = 0
        self.store = FrameStore(Path(store))
        self._questions = questions
        self._wording = wording
        self.images = {image.id: image for image in document.images}
        self._marks: dict[int, list[Annotation]] = {image_id: [] for image_id in self.images}
        for mark in document.annotations:
            self._marks[mark.image_id].append(mark)

    def prompts(self, image_id: int) -> tuple[Prompt, ...]:
        """Return the prompts of a frame in this epoch, in the order of its queries."""
        annotated = {mark.category_id for mark in self._marks[image_id]}
        image = self.images[image_id]
        prompts = self._questions(image, annotated, self.epoch)
        if self._wording is None:
            return prompts
        return tuple(
            replace(prompt, asked=self._wording(image, prompt.phrase)) for prompt in prompts
        )

    def getDatapointIds(self) -> list[int]:  # noqa: N802 - the protocol's name
        """Return the ids of all frames."""
        return sorted(self.images)

    def loadImagesFromDatapoint(self, idx: int) -> list[dict[str, Any]]:  # noqa: N802
        """Return what ``sam3`` wants to know of a frame's picture."""
        name = self.images[idx].file_name
        return [{"id": idx, "file_name": name, "original_img_id": idx, "coco_img_id": idx}]

    def loadQueriesAndAnnotationsFromDatapoint(  # noqa: N802
        self, idx: int
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the queries of a frame and the masks that answer them."""
        marks = self._marks[idx]
        queries = [
            self._query(idx, place, prompt, marks) for place, prompt in enumerate(self.prompts(idx))
        ]
        return queries, [self._target(mark) for mark in marks]

    def _query(
        self, image_id: int, place: int, prompt: Prompt, marks: Sequence[Annotation]
    ) -> dict[str, Any]:
        answers = [mark.id for mark in marks if mark.category_id == prompt.answer_category]
        return {
            "id": place,
            "image_id": image_id,
            "original_cat_id": prompt.category_id,
            "query_text": prompt.text,
            "query_processing_order": 0,
            "object_ids_output": answers,
            "is_exhaustive": prompt.certain,
            "input_box": None,
            "input_box_label": None,
            "input_points": None,
        }

    def _target(self, mark: Annotation) -> dict[str, Any]:
        mask = torch.from_numpy(self.store.mask(mark.id))
        return {
            "id": mark.id,
            "image_id": mark.image_id,
            "object_id": mark.id,
            "bbox": torch.zeros(4),  # of the mask, after augmentation
            "area": mark.area,
            "segmentation": mask,
        }


class PreparedFrames(Sam3ImageDataset):  # type: ignore[misc]
    """SAM 3's data set over prepared frames: nothing is decoded, nothing is swallowed.

    ``training`` is False for ``sam3``, whatever the frames are used for: it only hides their ids,
    which a report on a failed batch needs.
    """

    def __init__(self, **options: Any) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its length
            super().__init__(training=False, load_segmentation=True, **options)

    def _load_images(self, datapoint_id: int, img_ids_to_load: Any = None) -> Any:
        del img_ids_to_load
        details = self.coco.loadImagesFromDatapoint(datapoint_id)
        return [(datapoint_id, Picture(self.coco.store.picture(datapoint_id)))], details

    def __getitem__(self, index: int) -> Datapoint:
        """Return a sample; an error is an error, and not another sample."""
        sample = CustomCocoDetectionAPI.__getitem__(self, index)
        for transform in self._transforms:
            sample = transform(sample, epoch=self.curr_epoch)
        return sample

    def name_of(self, image_id: int) -> str:
        """Return a frame's id, for messages."""
        frame_id: str = self.coco.images[image_id].frame_id
        return frame_id

    def set_epoch(self, epoch: int) -> None:
        """Tell the questions and the augmentation which epoch it is."""
        self.curr_epoch = self.coco.epoch = epoch


class Picture:
    """Grey values in the place of a PIL image.

    Attributes
    ----------
    values : (R, C) ndarray of uint8
    size : tuple of int
        Width, height.
    """

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self.values = values
        self.size = (values.shape[1], values.shape[0])


class Augment:
    """Small changes that an angiogram could have had: other exposure, position and magnification.

    Never a flip, which would turn a right coronary artery into something that does not exist.
    What is drawn depends on seed, epoch and frame alone, so a resumed training draws the same.

    Parameters
    ----------
    seed : int
    contrast : float
        Largest relative change of contrast, and of brightness in units of half the range.
    rotation_deg, scale, shift : float
        Largest rotation, relative change of size, and displacement in fractions of the side.
    variants : int
        Different pictures of a frame, which return in turns, so that what a frozen backbone saw of
        them can be remembered; 0 for a new one in each epoch.
    """

    def __init__(
        self,
        *,
        seed: int,
        contrast: float,
        rotation_deg: float,
        scale: float,
        shift: float,
        variants: int = 0,
    ) -> None:
        self._seed = seed
        self._variants = variants
        self._contrast = contrast
        self._limits = np.array([rotation_deg, scale, shift, shift])

    def __call__(self, sample: Datapoint, *, epoch: int) -> Datapoint:
        """Change the picture and its masks alike."""
        image = sample.images[0]
        frame = sample.find_queries[0].inference_metadata.original_image_id
        variant = epoch % self._variants if self._variants else epoch
        rng = np.random.default_rng([self._seed, variant, frame])
        gain, offset = rng.uniform(-self._contrast, self._contrast, 2)
        rotation_deg, scale, right, down = rng.uniform(-1, 1, 4) * self._limits
        picture = (image.data.values.astype(np.float32) - 127.5) * (1 + gain)
        picture = picture + 127.5 * (1 + offset)
        if self._limits.any():
            side = image.data.size[0]
            centre = ((side - 1) / 2, (side - 1) / 2)
            turn = cv2.getRotationMatrix2D(centre, rotation_deg, 1 + scale)
            turn[:, 2] += np.array([right, down]) * side
            picture = _warp(picture, turn, cv2.BORDER_REPLICATE)
            for target in image.objects:
                moved = _warp(target.segment.numpy().astype(np.float32), turn, cv2.BORDER_CONSTANT)
                target.segment = torch.from_numpy((moved >= 0.5).astype(np.uint8))
        image.data = Picture(np.rint(picture).clip(0, 255).astype(np.uint8))
        return sample


def _warp(values: NDArray[np.float32], turn: NDArray[np.float64], border: int) -> NDArray[Any]:
    size = (values.shape[1], values.shape[0])
    moved = cv2.warpAffine(values, turn, size, flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(moved)


class ToTensors:
    """Last step: the picture as a tensor of one channel of bytes, the boxes of the masks.

    A target that the augmentation moved out of the picture leaves its query. Each query gets a
    semantic target: the union of its masks or, where it is not certain what the frame shows of it,
    of all masks of the frame, which it must leave alone.
    """

    def __call__(self, sample: Datapoint, *, epoch: int) -> Datapoint:
        """Convert a sample in place."""
        del epoch
        image = sample.images[0]
        image.data = torch.from_numpy(image.data.values)[None]
        boxes = [mask_box(target.segment) for target in image.objects]
        for target, box in zip(image.objects, boxes, strict=True):
            if box is not None:
                target.bbox = box
        for query in sample.find_queries:
            query.object_ids_output = [k for k in query.object_ids_output if boxes[k] is not None]
            marked = query.object_ids_output if query.is_exhaustive else range(len(boxes))
            query.semantic_target = _union(
                [image.objects[k].segment for k in marked], image.data.shape[1:]
            )
        sample.raw_images = None
        return sample


def _union(masks: Sequence[torch.Tensor], shape: Sequence[int]) -> torch.Tensor:
    return torch.stack([torch.zeros(*shape, dtype=torch.bool), *(m.bool() for m in masks)]).any(0)


def mask_box(mask: torch.Tensor) -> torch.Tensor | None:
    """Return the box of a mask as ``(cx, cy, w, h)`` in fractions, or None if there is none.

    Parameters
    ----------
    mask : (R, C) tensor

    Examples
    --------
    >>> mask_box(torch.tensor([[0, 1], [0, 1]]))
    tensor([0.7500, 0.5000, 0.5000, 1.0000])
    """
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    height, width = mask.shape
    return torch.tensor(
        [
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        ]
    )
