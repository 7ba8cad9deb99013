"""What the detector answers to each query: during validation, and as COCO results.

Conventions
-----------
Logits are brought to a frame's own size by bilinear interpolation with half-pixel centres, which
is how frames came to the model's size, and cut at probability one half. Scores are the product of
the phrase's presence and the query's own score. Work is dealt out to the workers frame by frame,
and each answer depends on its frame alone, so the number of workers changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from sam3.model.utils.misc import copy_data_to_device
from sam3.train.data.collator import collate_fn_api
from torch import nn
from torch.nn import functional

from sam3_angio.coco import ImageEntry, encode_mask, mask_box
from sam3_angio.detector.queries import PreparedFrames
from sam3_angio.detector.workers import first_worker_does
from sam3_angio.files import replacing, write_json
from sam3_angio.progress import tracked

FRAMES_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The model's answer to one query; M is the side of its masks, Q its number of queries.

    Attributes
    ----------
    image_id, category_id : int
    phrase : str
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
    phrase: str
    presence: float
    scores: torch.Tensor
    instances: torch.Tensor
    semantic: torch.Tensor
    target: torch.Tensor | None


@torch.no_grad()
def answers(
    model: nn.Module, frames: PreparedFrames, places: Sequence[int], device: torch.device
) -> Iterator[Answer]:
    """Yield the answers to all queries of some frames.

    Parameters
    ----------
    model : nn.Module
        Left in evaluation mode.
    frames : PreparedFrames
    places : sequence of int
        Which of the frames.
    device : torch.device
    """
    model.eval()
    for first in range(0, len(places), FRAMES_AT_ONCE):
        samples = [frames[place] for place in places[first : first + FRAMES_AT_ONCE]]
        batch = collate_fn_api(samples, dict_key="angio", with_seg_masks=True)["angio"]
        batch = copy_data_to_device(batch, device)
        yield from _answers_of(model(batch)[0], batch)


def _answers_of(out: dict[str, torch.Tensor], batch: Any) -> Iterator[Answer]:
    details, asked, targets = batch.find_metadatas[0], batch.find_inputs[0], batch.find_targets[0]
    presence = out["presence_logit_dec"].flatten().sigmoid()
    scores = out["pred_logits"][..., 0].sigmoid() * presence[:, None]
    groups = torch.split(targets.segments, targets.num_boxes.tolist())
    for place, masks in enumerate(groups):
        yield Answer(
            image_id=int(details.original_image_id[place]),
            category_id=int(details.original_category_id[place]),
            phrase=batch.find_text_batch[int(asked.text_ids[place])],
            presence=float(presence[place]),
            scores=scores[place],
            instances=out["pred_masks"][place],
            semantic=out["semantic_seg"][place, 0],
            target=masks.any(dim=0) if len(masks) else None,
        )


def validate(model: nn.Module, frames: PreparedFrames, device: torch.device) -> dict[str, float]:
    """Score the model on all frames, over all workers.

    Returns
    -------
    dict
        ``val/dice_semantic`` and ``val/dice_instance``: mean Dice of the semantic mask and of the
        best-scored instance over the queries that have a target, against the labels that training
        uses, at the model's resolution. ``val/presence_accuracy``: over all queries.
    """
    sums = torch.zeros(5, dtype=torch.float64)
    for answer in answers(model, frames, own_share(len(frames)), device):
        sums[4] += 1
        sums[3] += (answer.presence > 0.5) == (answer.target is not None)
        if answer.target is not None:
            best = answer.instances[answer.scores.argmax()]
            sums[0] += dice(enlarge(answer.semantic, answer.target.shape) > 0, answer.target)
            sums[1] += dice(enlarge(best, answer.target.shape) > 0, answer.target)
            sums[2] += 1
    sums = sums.to(device)
    dist.all_reduce(sums)
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
        logits[None, None].float(), size=tuple(size), mode="bilinear", align_corners=False
    )
    return resized[0, 0]


def predict(
    model: nn.Module,
    frames: PreparedFrames,
    *,
    instances: int,
    device: torch.device,
    parts: Path,
    out: Path,
) -> None:
    """Write the predictions of all frames, over all workers.

    Parameters
    ----------
    model : nn.Module
    frames : PreparedFrames
    instances : int
        How many of the best-scored instances of a query are kept.
    device : torch.device
    parts : Path
        Scratch folder that all workers see.
    out : Path
        Folder of ``queries.json`` and ``results.json``; written by the first worker.
    """
    share = own_share(len(frames))
    images = frames.coco.images
    found = answers(model, frames, share, device)
    if dist.get_rank() == 0:
        found = tracked(found, len(share), "Predicting")
    rows = [_rows(answer, images[answer.image_id], instances) for answer in found]
    write_json(parts / f"predictions_{dist.get_rank()}.json", rows, indent=None)
    dist.barrier()
    first_worker_does(lambda: _merge(parts, out))


def _merge(parts: Path, out: Path) -> None:
    rows = [
        row
        for path in sorted(parts.glob("predictions_*.json"))
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]
    rows.sort(key=lambda row: (row["query"]["image_id"], row["query"]["phrase"]))
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


def _rows(answer: Answer, image: ImageEntry, instances: int) -> dict[str, Any]:
    query = {
        "image_id": answer.image_id,
        "frame_id": image.frame_id,
        "category_id": answer.category_id,
        "phrase": answer.phrase,
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
