"""Training steps: ours, each setting alone, and SAM 3's stock loader, transforms and model.

``python benchmarks/training.py`` takes the model and the losses of Phase 1 in ``params.yaml``, or
of ``--profile NAME``, and trains with random weights, the same ones each time, on the frames of
``dataset/train``, or on drawn ones where there is no such folder. Each way to train runs in a
process of its own, so that its peak of memory is its own:

- stock: ``COCO_FROM_JSON`` and the package's transforms, which decode and resize each time, text
  encoded in each step, activations computed again, masks for each query and their loss at all
  pixels, as the package's published configuration has it; bfloat16 on a GPU;
- as set: prepared frames and the settings of ``params.yaml``;
- the others: as set, but for what their name says.

``--profile rtx3090x2`` measures Meta's model on a GPU whatever ``params.yaml`` says,
``--limit-gb 24`` as if the GPU had 24 GB, and ``--only NAME`` some ways.

Times are those of the processor, so that other work on the machine counts little; with CUDA, of
the clock. They are medians over the rounds. Frames are prepared in the training's own process, so
that what that takes is seen; processes that prepare frames ahead could hide it, and a second ratio
to stock leaves it out. Memory is the most that CUDA's allocator held, or the
most that the process held beyond what it held before it built its model. The loss is that of eight
frames after all rounds, in single precision and with masks at all pixels in whatever way was
trained: a way that is faster and learns less shows it there. Ratios that are reported must come
from an idle machine: shared caches and memory make them wander by a fifth.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from hydra.utils import instantiate
from omegaconf import DictConfig
from result_table import show_table
from sam3.model.sam3_image import Sam3Image
from sam3.model.utils.misc import copy_data_to_device
from sam3.train.data.coco_json_loaders import COCO_FROM_JSON
from sam3.train.data.sam3_image_dataset import Sam3ImageDataset
from sam3.train.data.torch_dataset import TorchDataset
from sam3.train.transforms import basic_for_api, segmentation

from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.coco import Category, Document, ImageEntry, annotate, write_document
from sam3_angio.config import load_config
from sam3_angio.detector.build import build_model, model_spec
from sam3_angio.detector.frames import FrameSet, load_frames, prepare
from sam3_angio.detector.optimizer import adamw
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import parameters_of
from sam3_angio.detector.runtime import accelerator
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.detector.step_parts import InParts, average_gradients
from sam3_angio.detector.training import TREE, frozen_parts
from sam3_angio.detector.workers import joined
from sam3_angio.profiles import apply_profile
from sam3_angio.scenes.scene import draw_scene

_DRAWN_FRAMES, _DRAWN_SIDE_PX = 32, 512
_STOCK = "stock"
_RATE, _JUDGED = 1e-4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to train.

    Attributes
    ----------
    train, phase : mapping
        What differs from ``train`` and ``train_phase1`` of ``params.yaml``.
    stock : bool
        Whether loader, transforms and model are the package's.
    """

    train: Mapping[str, Any] = field(default_factory=dict)
    phase: Mapping[str, Any] = field(default_factory=dict)
    stock: bool = False


_PAIR = {"batch_size": 2}
_STOCK_PHASE: dict[str, Any] = {"mask_points": None}
_STOCK_TRAIN = {"recompute": True, "parts": 1, "optimizer": "adamw"}
_ALL = {"freeze_vision": False, "freeze_text": False}

WAYS = {
    _STOCK: Way(stock=True, phase=_STOCK_PHASE, train=_STOCK_TRAIN),
    "stock, two frames": Way(stock=True, phase=_STOCK_PHASE | _PAIR, train=_STOCK_TRAIN),
    "as set": Way(),
    "float32": Way(train={"precision": "float32"}),
    "bfloat16": Way(train={"precision": "bfloat16"}),
    "activations kept": Way(train={"recompute": False}),
    "activations computed again": Way(train={"recompute": True}),
    "mask loss at all pixels": Way(phase={"mask_points": None}),
    "vision backbone frozen": Way(phase={"freeze_vision": True}),
    "LoRA of rank 16": Way(train={"lora_rank": 16}, phase={"freeze_vision": False}),
    "moments of 8 bits": Way(train={"optimizer": "adamw8bit"}),
    "two frames at once": Way(train={"parts": 1}, phase=_PAIR),
    "two frames in two parts": Way(train={"parts": 2}, phase=_PAIR),
    "everything trained": Way(phase=_ALL),
    "everything trained, two frames": Way(train={"parts": 1}, phase=_ALL | _PAIR),
    "everything trained, two frames, moments of 8 bits": Way(
        train={"parts": 1, "optimizer": "adamw8bit"}, phase=_ALL | _PAIR
    ),
    "compiled": Way(train={"compile": True}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all ways share.

    Attributes
    ----------
    parameters, dataset, store : Path
    size : str
    resolution_px : int
    steps, rounds : int
    limit_gb : float or None
        Of a GPU's memory.
    """

    parameters: Path
    dataset: Path
    store: Path
    size: str
    resolution_px: int
    steps: int
    rounds: int
    limit_gb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds a frame, of preparing it and in all, the peak of memory if known, and the loss."""

    loading_s: float
    total_s: float
    peak_bytes: int | None
    loss: float

    @property
    def step_s(self) -> float:
        """Seconds a frame but for preparing it."""
        return self.total_s - self.loading_s


def draw_frames(root: Path) -> Path:
    """Write a data set of drawn scenes, the tubes of each as one mask; return its folder."""
    folder = root / "dataset" / "train"
    (folder / "images").mkdir(parents=True)
    images, marks = [], []
    for number in range(1, _DRAWN_FRAMES + 1):
        scene = draw_scene(number, _DRAWN_SIDE_PX)
        mask = np.logical_or.reduce([scene.mask(thing) for thing in scene.things])
        image = _entry(number)
        cv2.imwrite(str(folder / "images" / image.file_name), scene.image)
        images.append(image)
        ids = {"annotation_id": number, "image_id": number, "category_id": 1}
        marks.append(annotate(mask, **ids, phrase=TREE_PHRASE))
    document = Document(
        images=tuple(images),
        annotations=tuple(marks),
        categories=(Category(id=1, name=TREE_PHRASE),),
    )
    (folder / "vessel_tree").mkdir()
    write_document(folder / "vessel_tree" / "annotations.json", document)
    return root / "dataset"


def _entry(number: int) -> ImageEntry:
    frame = f"p{number:010x}-{number:08x}"
    return ImageEntry(
        id=number,
        file_name=f"{frame}.png",
        width=_DRAWN_SIDE_PX,
        height=_DRAWN_SIDE_PX,
        frame_id=frame,
        patient=frame[:11],
        artery="RCA",
        cass_segment=1,
        primary_deg=0.0,
        secondary_deg=0.0,
        spacing_row_mm=None,
        spacing_column_mm=None,
    )


def recipe_of(way: Way, shared: Conditions, frames: FrameSet) -> DictConfig:
    """Fill the packaged configuration of Phase 1 for one process."""
    parameters = parameters_of(load_config(shared.parameters), TREE.sections)
    parameters["model"].update(size=shared.size, resolution=shared.resolution_px)
    parameters["train"].update(loader_workers=0)
    parameters["train"].update(way.train)
    parameters["train_phase1"].update(way.phase)
    run: dict[str, Any] = dict.fromkeys(
        ("label", "folder", "curves", "val_document", "val_store"), "none"
    )
    run.update(
        accelerator=accelerator(),
        queries=model_spec(shared.size, shared.resolution_px).queries,
        frozen=frozen_parts(parameters["train_phase1"]),
        remember_mb=0,  # what a first epoch costs
        initial=None,
        train_document=str(frames.document_path),
        train_store=str(shared.store),
    )
    return compose_recipe("phase1", parameters, run)


def data_of(way: Way, recipe: DictConfig, frames: FrameSet) -> TorchDataset:
    """Return the batches of a way."""
    if way.stock:
        return stock_data(recipe, frames)
    data = instantiate(recipe.trainer.data.train)
    if recipe.scratch.train.parts > 1:
        data.collate_fn = InParts(data.collate_fn, recipe.scratch.train.parts)
    return data


def stock_data(recipe: DictConfig, frames: FrameSet) -> TorchDataset:
    """Return the same frames through the package's own loader and transforms."""
    settings = recipe.trainer.data.train
    dataset = Sam3ImageDataset(
        img_folder=str(frames.folder),
        ann_file=str(frames.document_path),
        transforms=[
            segmentation.DecodeRle(),
            basic_for_api.RandomResizeAPI(
                recipe.scratch.model.resolution, consistent_transform=True, square=True
            ),
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


def model_of(way: Way, recipe: DictConfig) -> torch.nn.Module:
    """Return the model of a way, with random weights."""
    if not way.stock:
        return instantiate(recipe.trainer.model, _convert_="all")
    spec = model_spec(recipe.scratch.model.size, recipe.scratch.model.resolution)
    return build_model(replace(spec, recompute=True), Sam3Image)


def built(way: Way, recipe: DictConfig) -> torch.nn.Module:
    """Return the model of a way on the device, with the same weights in each process."""
    torch.manual_seed(0)
    with torch.device(accelerator()):
        return model_of(way, recipe).to(accelerator()).train()


def loss_of(model: torch.nn.Module, loss: Any, part: Any, small: bool) -> torch.Tensor:
    """Return the loss of a part of a step, in bfloat16 if `small`."""
    sample = copy_data_to_device(part, torch.device(accelerator()))
    with torch.autocast(accelerator(), torch.bfloat16, enabled=small):
        targets = [model.back_convert(target) for target in sample.find_targets]
        value: torch.Tensor = loss(model(sample), targets)["core_loss"]
    return value


def step_of(way: Way, recipe: DictConfig, model: torch.nn.Module) -> Callable[[Any], None]:
    """Return a function that trains a model on a batch."""
    loss = instantiate(recipe.trainer.loss.angio, _convert_="all").to(accelerator())
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = adamw(trained, kind=recipe.scratch.train.optimizer)
    for group in optimizer.param_groups:
        group["lr"] = _RATE
    on_gpu, precision = accelerator() == "cuda", recipe.scratch.train.precision
    small = on_gpu if way.stock else precision == "bfloat16"

    def step(batch: Any) -> None:
        parts = [part["angio"] for part in (batch if isinstance(batch, list) else [batch])]
        loss.begin_step([part.find_targets[0].num_boxes for part in parts])
        optimizer.zero_grad(set_to_none=True)
        for part in parts:
            loss_of(model, loss, part, small).backward()
        if len(parts) > 1:
            average_gradients(model, len(parts))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return step


def judged(model: torch.nn.Module, shared: Conditions, frames: FrameSet) -> float:
    """Return the mean loss of some frames, measured alike for all ways."""
    alike = {"mask_points": None, "batch_size": 1, "contrast": 0.0}
    recipe = recipe_of(Way(phase=alike), shared, frames)
    loss = instantiate(recipe.trainer.loss.angio, _convert_="all").to(accelerator())
    batches = endless(instantiate(recipe.trainer.data.train))
    torch.manual_seed(0)  # of dropout, without which there is no matching
    with torch.no_grad():
        values = [
            loss_of(model, loss, next(batches)["angio"], small=False).item() for _ in range(_JUDGED)
        ]
    return statistics.fmean(values)


def now() -> float:
    """Return the clock that other work disturbs least."""
    if accelerator() == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def endless(data: TorchDataset) -> Iterator[Any]:
    """Yield batches, epoch after epoch."""
    epoch = 0
    while True:
        yield from data.get_loader(epoch)
        epoch += 1


def resident_bytes(name: str) -> int | None:
    """Return ``VmRSS``, what this process holds, or ``VmHWM``, its most; None but on Linux."""
    if sys.platform != "linux":
        return None
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None


def measure(way: Way, shared: Conditions) -> Measured | None:
    """Train in one way, in a fresh process; None if the memory does not suffice."""
    prepare_runtime(threads=load_config(shared.parameters).train.threads)
    on_gpu = accelerator() == "cuda"
    if on_gpu and shared.limit_gb is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, shared.limit_gb * 1e9 / total))
    frames = load_frames(shared.dataset, "train", "vessel_tree")
    with joined(timeout_s=60):
        recipe = recipe_of(way, shared, frames)
        prepare(frames, shared.resolution_px, shared.store)
        data = data_of(way, recipe, frames)
        before = resident_bytes("VmRSS")
        try:
            model = built(way, recipe)
            times = timed_rounds(step_of(way, recipe, model), data, shared)
        except torch.OutOfMemoryError:
            return None
        most = resident_bytes("VmHWM")
        peak = None if most is None or before is None else most - before
        if on_gpu:
            peak = torch.cuda.max_memory_allocated()
            torch.cuda.set_per_process_memory_fraction(1.0)
        loss = judged(model, shared, frames)
    loading_s, total_s = (statistics.median(part) for part in zip(*times, strict=True))
    return Measured(loading_s=loading_s, total_s=total_s, peak_bytes=peak, loss=loss)


def timed_rounds(
    step: Callable[[Any], None], data: TorchDataset, shared: Conditions
) -> list[tuple[float, float]]:
    """Return seconds a frame of each round, of preparing it and in all, after two steps."""
    batches = endless(data)
    for _ in range(2):
        step(next(batches))
    rounds = []
    for _ in range(shared.rounds):
        loading = total = 0.0
        for _ in range(shared.steps):
            started = now()
            batch = next(batches)
            loading += now() - started
            step(batch)
            total += now() - started
        frames = shared.steps * data.batch_size
        rounds.append((loading / frames, total / frames))
    return rounds


HEAD = (
    "",
    "frames a second",
    "times stock",
    "the same, frames ready",
    "ms to prepare a frame",
    "peak memory, GB",
    "loss afterwards",
)


def row(name: str, found: Measured | None, stock: Measured | None) -> tuple[str, ...]:
    """Return a line of the table."""
    if found is None:
        return (name, "out of memory", *[""] * (len(HEAD) - 2))
    ratio = "" if stock is None else f"{stock.total_s / found.total_s:.2f}"
    ready = "" if stock is None else f"{stock.step_s / found.step_s:.2f}"
    peak = "unknown" if found.peak_bytes is None else f"{found.peak_bytes / 1e9:.2f}"
    return (
        name,
        f"{1 / found.total_s:.2f}",
        ratio,
        ready,
        f"{found.loading_s * 1000:.1f}",
        peak,
        f"{found.loss:.1f}",
    )


def show(found: Mapping[str, Measured | None], shared: Conditions, markdown: bool) -> None:
    """Print all that was measured."""
    rows = [row(name, measured, found.get(_STOCK)) for name, measured in found.items()]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    limit = "" if shared.limit_gb is None else f", of which {shared.limit_gb:g} GB"
    title = f"Model {shared.size} at {shared.resolution_px} px on {device}{limit}"
    show_table(title, HEAD, rows, markdown=markdown)


def fresh_processes() -> BaseContext:
    """Return a way to start processes that have imported everything and done nothing."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__"])
    return context


def main(  # noqa: PLR0913, PLR0917 - options of a command are its parameters
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")] = Path("dataset"),
    profile: Annotated[str | None, typer.Option(help="Parameters other than the set ones.")] = None,
    size: Annotated[str | None, typer.Option(help="tiny or published.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side in pixels.")] = None,
    steps: Annotated[int, typer.Option(help="Steps a round.")] = 8,
    rounds: Annotated[int, typer.Option(help="Rounds, of which the median is shown.")] = 3,
    limit_gb: Annotated[float | None, typer.Option(help="Memory of the GPU to use.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Ways to measure; all if none.")] = None,
    markdown: Annotated[bool, typer.Option(help="Print a table for a document.")] = False,
) -> None:
    """Compare ways to train."""
    wanted = only or list(WAYS)
    if unknown := sorted(set(wanted) - set(WAYS)):
        raise typer.BadParameter(f"no such way: {', '.join(unknown)}. There are: {', '.join(WAYS)}")
    with TemporaryDirectory() as scratch:
        parameters = Path(shutil.copy("params.yaml", scratch))
        if profile is not None:
            apply_profile(profile, parameters, Path("profiles"), dry_run=False)
        model = load_config(parameters).model
        shared = Conditions(
            parameters=parameters,
            dataset=dataset if (dataset / "train").is_dir() else draw_frames(Path(scratch)),
            store=Path(scratch) / "store",
            size=size or model.size,
            resolution_px=resolution or model.resolution,
            steps=steps,
            rounds=rounds,
            limit_gb=limit_gb,
        )
        found = {}
        context = fresh_processes()
        for name in wanted:
            with ProcessPoolExecutor(1, mp_context=context) as fresh:
                found[name] = fresh.submit(measure, WAYS[name], shared).result()
            typer.echo(" | ".join(row(name, found[name], found.get(_STOCK))), err=True)
        show(found, shared, markdown)


if __name__ == "__main__":
    typer.run(main)
