"""A training step: ours against SAM 3's stock loader and transforms, with the same model.

``python benchmarks/training.py [--dataset dataset] [--steps 8] [--rounds 3] [--markdown]`` takes
the model and the losses of ``params.yaml`` and trains on the frames of ``dataset/train`` in three
ways, in turn, for a few rounds:

- ours: prepared frames, frozen text encoded once, activations kept, mask loss at points, as set in
  ``params.yaml``;
- stock data: ``COCO_FROM_JSON`` and the package's transforms, which decode and resize each time;
- stock data and model: besides, text encoded in each step, activations computed again, mask loss
  at all pixels, as the package's published configuration has it.

Times are those of the processor, so that other work on the machine counts little; with CUDA, of
the clock. Medians over the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from sam3.model.utils.misc import copy_data_to_device
from sam3.train.data.coco_json_loaders import COCO_FROM_JSON
from sam3.train.data.sam3_image_dataset import Sam3ImageDataset
from sam3.train.data.torch_dataset import TorchDataset
from sam3.train.transforms import basic_for_api, segmentation

from sam3_angio.config import load_config
from sam3_angio.detector.build import build_model, model_spec
from sam3_angio.detector.frames import FrameSet, load_frames, prepare
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import parameters_of
from sam3_angio.detector.runtime import accelerator
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.detector.training import TREE
from sam3_angio.detector.workers import joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to train: its batches, and a step with one.

    Attributes
    ----------
    name : str
    data : TorchDataset
    step : callable
        Trains on a batch.
    """

    name: str
    data: TorchDataset
    step: Callable[[Any], None]


def recipe_of(frames: FrameSet, store: Path) -> DictConfig:
    """Fill the packaged configuration of Phase 1 for one process."""
    parameters = parameters_of(load_config(), TREE.sections)
    model = parameters["model"]
    spec = model_spec(model["size"], model["resolution"])
    run = dict.fromkeys(("label", "folder", "curves", "val_document", "val_store"), "none")
    run.update(
        accelerator=accelerator(),
        queries=spec.queries,
        frozen=["backbone.language_backbone.encoder"],
        initial=None,
        train_document=str(frames.document_path),
        train_store=str(store),
    )
    return compose_recipe("phase1", parameters, run)


def stock_data(recipe: DictConfig, frames: FrameSet) -> TorchDataset:
    """Return the same frames through the package's own loader and transforms."""
    side_px = recipe.scratch.model.resolution
    settings = recipe.trainer.data.train
    dataset = Sam3ImageDataset(
        img_folder=str(frames.folder),
        ann_file=str(frames.document_path),
        transforms=[
            segmentation.DecodeRle(),
            basic_for_api.RandomResizeAPI(side_px, consistent_transform=True, square=True),
            basic_for_api.ToTensorAPI(),
            basic_for_api.NormalizeAPI(mean=[0.5] * 3, std=[0.5] * 3),
        ],
        max_ann_per_img=1000,
        multiplier=1,
        training=True,
        load_segmentation=True,
        coco_json_loader=COCO_FROM_JSON,
    )
    return TorchDataset(
        dataset,
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        shuffle=True,
        pin_memory=False,
        drop_last=True,
        collate_fn=instantiate(settings.collate_fn),
    )


def step_of(model: torch.nn.Module, recipe: DictConfig) -> Callable[[Any], None]:
    """Return a function that trains a model on a batch."""
    device = torch.device(accelerator())
    model = model.to(device).train()
    loss = instantiate(recipe.trainer.loss.angio, _convert_="all").to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(batch: Any) -> None:
        sample = copy_data_to_device(batch["angio"], device)
        optimizer.zero_grad(set_to_none=True)
        targets = [model.back_convert(target) for target in sample.find_targets]
        loss(model(sample), targets)["core_loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def ways(recipe: DictConfig, frames: FrameSet) -> list[Way]:
    """Return the three ways to train."""
    spec = model_spec(recipe.scratch.model.size, recipe.scratch.model.resolution)
    all_pixels = OmegaConf.merge(recipe, {})
    all_pixels.trainer.loss.angio.loss_fns_find[2].num_sample_points = None
    ours = step_of(instantiate(recipe.trainer.model), recipe)
    stock = step_of(build_model(replace(spec, recompute=True)), all_pixels)
    theirs = stock_data(recipe, frames)
    return [
        Way(name="ours", data=instantiate(recipe.trainer.data.train), step=ours),
        Way(name="stock data", data=theirs, step=ours),
        Way(name="stock data and model", data=theirs, step=stock),
    ]


def now() -> float:
    """Return the clock that other work disturbs least."""
    if accelerator() == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def endless(data: TorchDataset) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from data.get_loader(epoch)
        epoch += 1


def measure(all_ways: list[Way], steps: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return seconds a frame of each way: preparing it, and in all."""
    batches = {way.name: endless(way.data) for way in all_ways}
    found: dict[str, list[tuple[float, float]]] = {way.name: [] for way in all_ways}
    for way in all_ways:
        way.step(next(batches[way.name]))
    for _ in range(rounds):
        for way in all_ways:
            found[way.name].append(timed(way, batches[way.name], steps))
    return {
        name: tuple(statistics.median(part) for part in zip(*times, strict=True))
        for name, times in found.items()
    }


def timed(way: Way, batches: Iterator[Any], steps: int) -> tuple[float, float]:
    """Return seconds a frame: preparing it, and in all."""
    loading = total = 0.0
    for _ in range(steps):
        started = now()
        batch = next(batches)
        loading += now() - started
        way.step(batch)
        total += now() - started
    frames = steps * way.data.batch_size
    return loading / frames, total / frames


def show(found: dict[str, tuple[float, float]], markdown: bool) -> None:
    ours = found["ours"][1]
    rows = [
        (name, f"{load * 1000:.1f}", f"{all_ * 1000:.0f}", f"{1 / all_:.2f}", f"{ours / all_:.2f}")
        for name, (load, all_) in found.items()
    ]
    head = ("", "ms to prepare a frame", "ms a frame", "frames a second", "ratio to ours")
    if markdown:
        lines = [head, ("---", *["---:"] * 4), *rows]
        typer.echo("\n".join("| " + " | ".join(line) + " |" for line in lines))
        return
    table = Table(*head, title=f"Training on {accelerator()}, {torch.get_num_threads()} thread(s)")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")] = Path("dataset"),
    steps: Annotated[int, typer.Option(help="Steps a round.")] = 8,
    rounds: Annotated[int, typer.Option(help="Rounds, of which the median is shown.")] = 3,
    markdown: Annotated[bool, typer.Option(help="Print a table for a document.")] = False,
) -> None:
    """Compare training steps."""
    prepare_runtime(threads=load_config().train.threads)
    frames = load_frames(dataset, "train", "vessel_tree")
    with TemporaryDirectory() as scratch, joined(timeout_s=60):
        store = Path(scratch) / "store"
        recipe = recipe_of(frames, store)
        prepare(frames, recipe.scratch.model.resolution, store)
        show(measure(ways(recipe, frames), steps, rounds), markdown)


if __name__ == "__main__":
    typer.run(main)
