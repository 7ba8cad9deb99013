"""What the detector answers to each query: during validation, and as COCO results.

Conventions
-----------
Logits are brought to a frame's own size by bicubic interpolation with half-pixel centres and cut at
probability one half. Vessels are about as wide as a cell of the masks, and straight lines between
the cells' centres would cut off their crests. Scores are the product of
the phrase's presence and the query's own score. Work is dealt out to the workers frame by frame,
and each answer depends on its frame alone, so the number of workers changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from sam3.model.geometry_encoders import Prompt
from sam3.model.sam3_image import Sam3Image
from sam3.model.utils.misc import copy_data_to_device
from sam3.train.data.collator import collate_fn_api
from sam3.train.data.sam3_image_dataset import Datapoint
from torch.nn import functional

from sam3_angio.coco import ImageEntry, encode_mask, mask_box
from sam3_angio.detector.pulse import beating
from sam3_angio.detector.queries import PreparedFrames
from sam3_angio.detector.sharing import collected, in_all
from sam3_angio.detector.workers import first_worker_does
from sam3_angio.files import replacing, write_json
from sam3_angio.progress import tracked

#: Queries that pass the detector together; what bounds the memory of a prediction.
QUERIES_AT_ONCE = 8

Collate = Callable[[list[Datapoint]], dict[str, Any]]
_STOCK_COLLATE: Collate = partial(collate_fn_api, dict_key="angio", with_seg_masks=True)


class Samples(Protocol):
    """Frames with their queries, by place."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Datapoint: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The model's answer to one query; M is the side of its masks, Q its number of queries.

    Attributes
    ----------
    image_id, category_id : int
    asked : str
        Words that the text encoder was given.
    presence : float
        Probability that the phrase is in the picture.
    scores : (Q,) tensor
        Presence × score of each instance.
    instances : (Q, M, M) tensor
        Logits.
    semantic : (M, M) tensor
        Logits.
    target : (R, R) tensor or None
        Union of the masks that answer the query, at the model's resolution.
    """

    image_id: int
    category_id: int
    asked: str
    presence: float
    scores: torch.Tensor
    instances: torch.Tensor
    semantic: torch.Tensor
    target: torch.Tensor | None


class TextFeatures:
    """The text encoder's output, computed once a text.

    Parameters
    ----------
    model : Sam3Image
        Whose weights stay as they are while this is used.
    device : torch.device
    """

    def __init__(self, model: Sam3Image, device: torch.device) -> None:
        self._encode = partial(model.backbone.forward_text, device=device)
        self._known: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return what the detector wants to know of some texts, under ``sam3``'s names."""
        new = [text for text in texts if text not in self._known]
        if new:
            out = self._encode(new)
            for place, text in enumerate(new):
                # copies, so that the whole batch need not be kept
                features, mask = out["language_features"][:, place], out["language_mask"][place]
                self._known[text] = (features.clone(), mask.clone())
        features, masks = zip(*(self._known[text] for text in texts), strict=True)
        return {
            "language_features": torch.stack(features, dim=1),
            "language_mask": torch.stack(masks),
        }


@torch.no_grad()
def answers(
    model: Sam3Image,
    samples: Samples,
    places: Sequence[int],
    device: torch.device,
    collate: Collate = _STOCK_COLLATE,
) -> Iterator[Answer]:
    """Yield the answers to all queries of some frames, in their order.

    A frame passes the vision backbone once and a text the text encoder once, however many
    queries there are.

    Parameters
    ----------
    model : Sam3Image
        Left in evaluation mode.
    samples : Samples
    places : sequence of int
        Which of the samples.
    device : torch.device
    collate : callable
        Makes a batch of a list of samples.
    """
    model.eval()
    texts = TextFeatures(model, device)
    for place in beating(places):
        batch = copy_data_to_device(collate([samples[place]])["angio"], device)
        features = {
            "img_batch_all_stages": batch.img_batch,
            **model.backbone.forward_image(batch.img_batch),
            **texts(batch.find_text_batch),
        }
        yield from _answers_of(model, features, batch)


def _answers_of(model: Sam3Image, features: dict[str, Any], batch: Any) -> Iterator[Answer]:
    details, stage, targets = batch.find_metadatas[0], batch.find_inputs[0], batch.find_targets[0]
    groups = torch.split(targets.segments, targets.num_boxes.tolist())
    for first in range(0, len(groups), QUERIES_AT_ONCE):
        part = queries_of(stage, slice(first, first + QUERIES_AT_ONCE))
        out = model.forward_grounding(dict(features), part, None, _boxes_of(part))
        presence = out["presence_logit_dec"].flatten().sigmoid()
        scores = out["pred_logits"][..., 0].sigmoid() * presence[:, None]
        for place, masks in enumerate(groups[first : first + QUERIES_AT_ONCE]):
            yield Answer(
                image_id=int(details.original_image_id[first + place]),
                category_id=int(details.original_category_id[first + place]),
                asked=batch.find_text_batch[int(part.text_ids[place])],
                presence=float(presence[place]),
                scores=scores[place],
                instances=out["pred_masks"][place],
                semantic=out["semantic_seg"][place, 0],
                target=masks.any(dim=0) if len(masks) else None,
            )


#: Fields of ``sam3``'s batch of queries in which the queries are the second dimension.
_SEQUENCE_FIRST = frozenset({"input_boxes", "input_boxes_label"})


def queries_of(stage: Any, wanted: slice) -> Any:
    """Return some of the queries of a batch.

    Parameters
    ----------
    stage : FindStage
        Or a subclass; further fields have the queries in the first dimension.
    wanted : slice
    """
    parts = {}
    for field in fields(stage):
        value = getattr(stage, field.name)
        if value is not None:
            value = value[:, wanted] if field.name in _SEQUENCE_FIRST else value[wanted]
        parts[field.name] = value
    return replace(stage, **parts)


def _boxes_of(stage: Any) -> Prompt:
    return Prompt(
        box_embeddings=stage.input_boxes,
        box_mask=stage.input_boxes_mask,
        box_labels=stage.input_boxes_label,
    )


def validate(
    model: Sam3Image, samples: Samples, device: torch.device, collate: Collate
) -> dict[str, float]:
    """Score the model on all frames, over all workers.

    Returns
    -------
    dict
        ``val/dice_semantic`` and ``val/dice_instance``: mean Dice of the semantic mask and of the
        best-scored instance over the queries that have a target, against the labels that training
        uses, at the model's resolution. ``val/presence_accuracy``: over all queries.
    """
    sums = torch.zeros(5, dtype=torch.float64)
    for answer in answers(model, samples, own_share(len(samples)), device, collate):
        sums[4] += 1
        sums[3] += (answer.presence > 0.5) == (answer.target is not None)
        if answer.target is not None:
            best = answer.instances[answer.scores.argmax()]
            sums[0] += dice(enlarge(answer.semantic, answer.target.shape) > 0, answer.target)
            sums[1] += dice(enlarge(best, answer.target.shape) > 0, answer.target)
            sums[2] += 1
    in_all(sums)
    semantic, instance, positives, right, queries = sums.tolist()
    return {
        "val/dice_semantic": semantic / max(1, positives),
        "val/dice_instance": instance / max(1, positives),
        "val/presence_accuracy": right / max(1, queries),
    }


def own_share(count: int) -> range:
    """Return which of `count` items are this worker's."""
    return range(dist.get_rank(), count, dist.get_world_size())


def dice(prediction: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the Dice of two masks; 1 if both are empty."""
    both = float((prediction & reference).sum())
    total = float(prediction.sum() + reference.sum())
    return 2 * both / total if total else 1.0


def enlarge(logits: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bring (M, M) logits to (rows, columns), with half-pixel centres."""
    resized = functional.interpolate(
        logits[None, None].float(), size=tuple(size), mode="bicubic", align_corners=False
    )
    return resized[0, 0]


def predict(
    model: Sam3Image,
    frames: PreparedFrames,
    *,
    instances: int,
    device: torch.device,
    collate: Collate,
    out: Path,
) -> None:
    """Write the predictions of all frames, over all workers.

    Parameters
    ----------
    model : Sam3Image
    frames : PreparedFrames
    instances : int
        How many of the best-scored instances of a query are kept.
    device : torch.device
    collate : callable
    out : Path
        Folder of ``queries.json`` and ``results.json``; written by the first worker.
    """
    share = own_share(len(frames))
    images = frames.coco.images
    ids = [int(frames.ids[place]) for place in share]
    prompts = [prompt for image_id in ids for prompt in frames.coco.prompts(image_id)]
    found: Iterable[Answer] = answers(model, frames, share, device, collate)
    if dist.get_rank() == 0:
        found = tracked(found, len(prompts), "Predicting")
    rows = [
        answer_rows(answer, prompt.phrase, images[answer.image_id], instances)
        for answer, prompt in zip(found, prompts, strict=True)
    ]
    parts = collected(json.dumps(rows, allow_nan=False).encode())
    first_worker_does(lambda: write_rows([row for part in parts for row in json.loads(part)], out))


def write_rows(rows: Iterable[dict[str, Any]], out: Path) -> None:
    """Write answers as the folder of predictions that the scores read.

    Parameters
    ----------
    rows : iterable of dict
        Of :func:`answer_rows`, in any order.
    out : Path
        Folder of ``queries.json`` and ``results.json``.
    """
    rows = sorted(rows, key=lambda row: (row["query"]["image_id"], row["query"]["phrase"]))
    queries = [{"query_id": place, **row["query"]} for place, row in enumerate(rows, start=1)]
    results = [
        {"query_id": place, **result}
        for place, row in enumerate(rows, start=1)
        for result in row["results"]
    ]
    with replacing(out) as folder:
        folder.mkdir()
        write_json(folder / "queries.json", queries)
        write_json(folder / "results.json", results)


def answer_rows(answer: Answer, phrase: str, image: ImageEntry, instances: int) -> dict[str, Any]:
    """Return an answer as the entries of ``queries.json`` and ``results.json``, without numbers.

    Parameters
    ----------
    answer : Answer
    phrase : str
        Plain phrase that was asked.
    image : ImageEntry
        Of the frame; masks are brought to its size.
    instances : int
        How many of the best-scored instances are kept.
    """
    query = {
        "image_id": answer.image_id,
        "frame_id": image.frame_id,
        "category_id": answer.category_id,
        "phrase": phrase,
        "asked": answer.asked,
        "presence": answer.presence,
    }
    count = min(instances, len(answer.scores))
    best = torch.sort(answer.scores, descending=True, stable=True).indices[:count].tolist()
    size = (image.height, image.width)
    results = [
        _result(answer, float(answer.scores[k]), _mask(answer.instances[k], size), "instance")
        for k in best
    ]
    results.append(_result(answer, answer.presence, _mask(answer.semantic, size), "semantic"))
    return {"query": query, "results": results}


def _mask(logits: torch.Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray((enlarge(logits, size) > 0).cpu().numpy())


def _result(answer: Answer, score: float, mask: NDArray[np.bool_], kind: str) -> dict[str, Any]:
    return {
        "image_id": answer.image_id,
        "category_id": answer.category_id,
        "score": score,
        "segmentation": asdict(encode_mask(mask)),
        "bbox": mask_box(mask),
        "kind": kind,
    }
