"""Asking a published model about one picture, as the trainings ask about validation frames.

The picture goes the same way as in training (``sam3_angio.detector.frames``: square, antialiased,
rounded to grey levels), and the answers are made by :func:`sam3_angio.detector.predict.answers`;
so a frame of the data set gets the answer that ``predictions/`` holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sam3.train.data.sam3_image_dataset import Datapoint, FindQueryLoaded, Image, InferenceMetadata

from sam3_angio.detector.build import build_model
from sam3_angio.detector.checkpoint import load_weights
from sam3_angio.detector.found import BoolArray, PhraseAnswer, ScoredMask
from sam3_angio.detector.frames import resize
from sam3_angio.detector.predict import Answer, answers, enlarge
from sam3_angio.detector.published import Published
from sam3_angio.detector.queries import Picture, ToTensors
from sam3_angio.detector.runtime import accelerator
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.errors import ConfigError
from sam3_angio.prompts import Prompt


class Detector:
    """A published model, loaded and ready to be asked.

    Parameters
    ----------
    published : Published
    device : torch.device

    Raises
    ------
    ConfigError
        The checkpoint is not that of the model.
    """

    def __init__(self, published: Published, device: torch.device) -> None:
        self.published = published
        self._device = device
        model = build_model(published.spec)
        load_weights(model, published.checkpoint)
        # Frozen, the text encoder remembers what it has read from one frame to the next.
        self._model = model.requires_grad_(False).to(device)

    def ask(
        self, picture: NDArray[np.uint8], prompts: Sequence[Prompt]
    ) -> tuple[PhraseAnswer, ...]:
        """Return the answers to some prompts, in their order.

        Parameters
        ----------
        picture : (R, C) ndarray of uint8
        prompts : sequence of Prompt
        """
        sample = _sample(picture, prompts, self.published.spec.resolution_px)
        found = answers(self._model, [sample], [0], self._device)
        return tuple(
            _plain(answer, prompt, picture.shape, self.published.instances)
            for answer, prompt in zip(found, prompts, strict=True)
        )


def chosen_device(wanted: str, threads: int) -> torch.device:
    """Return the device to compute on, and set this process up for it.

    Parameters
    ----------
    wanted : {"auto", "cpu", "cuda"}
    threads : int
        Of one operation on the CPU; as in training, so that sums are taken in the same order.

    Raises
    ------
    ConfigError
        There is no such device.
    """
    prepare_runtime(threads)
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("PyTorch finds no CUDA device here; give --device cpu or auto.")
    return torch.device(accelerator() if wanted == "auto" else wanted)


def _sample(picture: NDArray[np.uint8], prompts: Sequence[Prompt], side_px: int) -> Datapoint:
    values = np.rint(resize(picture, side_px)).clip(0, 255).astype(np.uint8)
    image = Image(data=Picture(values), objects=[], size=(side_px, side_px))
    queries = [_query(prompt, picture.shape) for prompt in prompts]
    return ToTensors()(Datapoint(find_queries=queries, images=[image]), epoch=0)


def _query(prompt: Prompt, size_px: tuple[int, ...]) -> FindQueryLoaded:
    details = InferenceMetadata(
        coco_image_id=0,
        original_image_id=0,
        original_category_id=prompt.category_id,
        original_size=size_px,
        object_id=0,
        frame_index=0,
    )
    return FindQueryLoaded(
        query_text=prompt.text,
        image_id=0,
        object_ids_output=[],
        is_exhaustive=True,
        query_processing_order=0,
        inference_metadata=details,
    )


def _plain(
    answer: Answer, prompt: Prompt, size_px: tuple[int, ...], instances: int
) -> PhraseAnswer:
    best = torch.sort(answer.scores, descending=True, stable=True).indices[:instances].tolist()
    return PhraseAnswer(
        prompt=prompt,
        presence=answer.presence,
        instances=tuple(
            ScoredMask(score=float(answer.scores[k]), mask=_mask(answer.instances[k], size_px))
            for k in best
        ),
        semantic=_mask(answer.semantic, size_px),
    )


def _mask(logits: torch.Tensor, size_px: tuple[int, ...]) -> BoolArray:
    return np.asarray((enlarge(logits, size_px) > 0).cpu().numpy())
