"""Training steps: ours, each setting alone, and SAM 3's own trainer.

``python benchmarks/training.py`` takes the model and the losses of Phase 1 in ``params.yaml``, or
of ``--profile NAME``, and trains with random weights, the same ones each time, on the frames of
``dataset/train``, or on drawn ones where there is no such folder. Each way to train runs in a
process of its own, so that its peak of memory is its own:

- stock: ``sam3.train.trainer.Trainer`` as ``stock_training.yaml`` sets it, with the package's
  loader, transforms, collator, losses and optimiser; with one frame a step, as its published
  configuration has it, and with as many as are set;
- one frame, as set: :class:`~sam3_angio.detector.trainer.PhaseTrainer`, prepared frames and the
  settings of ``params.yaml``, with one frame a step and as many as are set;
- the others: as set, but for what their name says.

``--profile rtx3090x2`` measures Meta's model on a GPU whatever ``params.yaml`` says,
``--limit-gb 24`` as if the GPU had 24 GB, and ``--only NAME`` some ways.

Both trainers run their own ``train_epoch``, alone in their group of workers, with the same constant
rate, and ours with the deterministic algorithms that a training has. The stock model is the same
classes at the same size; its trunk and text encoder are subclasses that do nothing else when they
are given floats and are trained. Left out of the published transforms are those that only drop
queries, and on both sides validation and checkpoints.

Times are those of the processor, so that other work on the machine counts little; with CUDA, of
the clock. They are medians over the rounds, from one batch that is asked for to the next. Frames
are prepared in the training's own process, so that what that takes is seen; processes that prepare
frames ahead could hide it, and a further ratio to stock leaves it out. Memory is the most that
CUDA's allocator held, or the most that the process held beyond what it held before it built its
model. The loss is that of eight frames before the first step and after each round, in single
precision and with masks at all pixels in whatever way was trained: a way that is faster and learns
less shows it there. It is of steps, not of frames: with two frames a step twice as many were seen.
Ratios that are reported must come from an idle machine: shared caches and memory make them wander
by a fifth. Where one frame is what is set, several ways are the same training, and show how much.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
import typer
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from result_table import show_table
from sam3.model.utils.misc import copy_data_to_device
from sam3.train import trainer as stock_trainer
from sam3.train.data.torch_dataset import TorchDataset

from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.coco import Category, Document, ImageEntry, annotate, write_document
from sam3_angio.config import load_config
from sam3_angio.detector.build import model_spec
from sam3_angio.detector.frames import FrameSet, load_frames, prepare
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import parameters_of
from sam3_angio.detector.runtime import NoMemoryMeter, accelerator, deterministic
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.detector.training import TREE, frozen_parts
from sam3_angio.detector.workers import joined
from sam3_angio.profiles import apply_profile
from sam3_angio.scenes.scene import draw_scene

_DRAWN_FRAMES, _DRAWN_SIDE_PX = 32, 512
_STOCK_ONE, _STOCK_SET = "stock, one frame", "stock"
_RATE, _JUDGED, _WARM_UP = 1e-4, 8, 2
#: The epoch that is measured is one of many, so that none is followed by a validation.
_EPOCHS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to train.

    Attributes
    ----------
    train, phase : mapping
        What differs from ``train`` and ``train_phase1`` of ``params.yaml``.
    stock : bool
        Whether trainer, loader, transforms, losses and model are the package's.
    remembered : bool
        Whether the frozen backbone has seen each frame before, and remembers it.
    """

    train: Mapping[str, Any] = field(default_factory=dict)
    phase: Mapping[str, Any] = field(default_factory=dict)
    stock: bool = False
    remembered: bool = False


_ONE: dict[str, Any] = {"train": {"parts": 1}, "phase": {"batch_size": 1}}
_TWO = {"batch_size": 2}
_LOW_RANK = {"lora_rank": 16}
_VISION = {"freeze_vision": False}
_ALL = {"freeze_vision": False, "freeze_text": False}
_UNALTERED = dict.fromkeys(("contrast", "rotation_deg", "scale", "shift", "variants"), 0)

WAYS = {
    _STOCK_ONE: Way(stock=True, **_ONE),
    _STOCK_SET: Way(stock=True),
    "one frame": Way(**_ONE),
    "as set": Way(),
    "LoRA of rank 16, one frame": Way(
        train=_ONE["train"] | _LOW_RANK, phase=_ONE["phase"] | _VISION
    ),
    "LoRA of rank 16": Way(train=_LOW_RANK, phase=_VISION),
    "float32": Way(train={"precision": "float32"}),
    "bfloat16": Way(train={"precision": "bfloat16"}),
    "activations kept": Way(train={"recompute": False}),
    "activations computed again": Way(train={"recompute": True}),
    "two frames at once": Way(train={"parts": 1}, phase=_TWO),
    "two frames in two parts": Way(train={"parts": 2}, phase=_TWO),
    "mask loss at all pixels": Way(phase={"mask_points": None}),
    "mask loss at 4096 points": Way(phase={"mask_points": 4096}),
    "moments of 32 bits": Way(train={"optimizer": "adamw"}),
    "moments of 8 bits": Way(train={"optimizer": "adamw8bit"}),
    "text encoder frozen": Way(phase={"freeze_text": True}),
    "text encoder trained": Way(phase={"freeze_text": False}),
    "vision backbone trained": Way(phase=_VISION),
    "vision backbone frozen": Way(phase={"freeze_vision": True}),
    "vision backbone frozen and remembered": Way(
        phase={"freeze_vision": True, **_UNALTERED}, remembered=True
    ),
    "everything trained": Way(phase=_ALL),
    "everything trained, moments of 8 bits": Way(train={"optimizer": "adamw8bit"}, phase=_ALL),
    "compiled": Way(train={"compile": True}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all ways share.

    Attributes
    ----------
    parameters, dataset, scratch : Path
    size : str
    resolution_px : int
    steps, rounds : int
    limit_gb : float or None
        Of a GPU's memory.
    """

    parameters: Path
    dataset: Path
    scratch: Path
    size: str
    resolution_px: int
    steps: int
    rounds: int
    limit_gb: float | None

    @property
    def store(self) -> Path:
        """Folder of the prepared frames."""
        return self.scratch / "store"

    @property
    def judged_after(self) -> tuple[int, ...]:
        """Steps after which the loss is judged."""
        return (0, *(_WARM_UP + self.steps * number for number in range(1, self.rounds + 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of a way.

    Attributes
    ----------
    frames : int
        Of a step.
    loading_s, total_s : float
        A frame, of preparing it and in all.
    peak_bytes : int or None
        Of memory, if known.
    losses : tuple of float
        After :attr:`Conditions.judged_after` steps.
    """

    frames: int
    loading_s: float
    total_s: float
    peak_bytes: int | None
    losses: tuple[float, ...]

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
    parameters["train"].update(max_minutes=0)
    parameters["train"].update(way.train)
    parameters["train_phase1"].update(epochs=_EPOCHS, val_every=_EPOCHS, patience=0)
    parameters["train_phase1"].update(way.phase)
    remember_mb = parameters["train"]["remember_mb"] if way.remembered else 0
    document = {f"{split}_document": str(frames.document_path) for split in ("train", "val")}
    store = {f"{split}_store": str(shared.store) for split in ("train", "val")}
    folder = shared.scratch / f"run-{os.getpid()}"
    recipe = compose_recipe(
        "phase1",
        parameters,
        {
            **document,
            **store,
            "label": "Benchmark",
            "folder": str(folder),
            "curves": str(folder / "curves"),
            "accelerator": accelerator(),
            "queries": model_spec(shared.size, shared.resolution_px).queries,
            "frozen": frozen_parts(parameters["train_phase1"]),
            "loader_workers": 0,
            "remember_mb": remember_mb,
            "initial": None,
        },
    )
    constant = "fvcore.common.param_scheduler.ConstantParamScheduler"
    for option in recipe.trainer.optim.options.lr:
        option.scheduler = {"_target_": constant, "value": _RATE}
    return recipe


def stock_recipe_of(recipe: DictConfig, frames: FrameSet) -> DictConfig:
    """Fill the configuration of the package's own trainer with the same numbers."""
    stock = OmegaConf.load(Path(__file__).with_name("stock_training.yaml"))
    stock.scratch = recipe.scratch
    stock.pictures = str(frames.folder)
    stock.on_gpu = accelerator() == "cuda"
    stock.trainer.max_epochs = _EPOCHS
    stock.trainer.optim.options = recipe.trainer.optim.options
    stock.trainer.optim.param_group_modifiers = recipe.trainer.optim.param_group_modifiers
    OmegaConf.resolve(stock)
    return stock


def trainer_of(recipe: DictConfig) -> Any:
    """Return a trainer, its model on the device, with the same weights in each process."""
    with redirect_stdout(sys.stderr), torch.device(accelerator()):
        return instantiate(recipe.trainer, _recursive_=False)


@contextmanager
def as_a_training_is(way: Way) -> Iterator[None]:
    """Let ours join its group of workers and be deterministic; stock does what it does itself."""
    if not way.stock:
        with deterministic(), joined(timeout_s=60):
            yield
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    alone = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in alone.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


class Judge:
    """The mean loss of some frames, measured alike for all ways.

    Parameters
    ----------
    shared : Conditions
    frames : FrameSet
    """

    def __init__(self, shared: Conditions, frames: FrameSet) -> None:
        alike = {"mask_points": None, "batch_size": 1, **_UNALTERED}
        recipe = recipe_of(Way(train={"parts": 1}, phase=alike), shared, frames)
        self._loss = instantiate(recipe.trainer.loss.angio, _convert_="all").to(accelerator())
        self._data = instantiate(recipe.trainer.data.train)

    def __call__(self, model: torch.nn.Module) -> float:
        """Return the loss of a model in training mode, without which there is no matching."""
        generators = [torch.cuda.current_device()] if accelerator() == "cuda" else []
        with torch.random.fork_rng(generators), torch.no_grad():
            torch.manual_seed(0)  # of dropout
            batches = islice(self._data.get_loader(0), _JUDGED)
            return statistics.fmean(self._value(model, batch["angio"]) for batch in batches)

    def _value(self, model: torch.nn.Module, batch: Any) -> float:
        sample = copy_data_to_device(batch, torch.device(accelerator()))
        targets = [model.back_convert(target) for target in sample.find_targets]
        return float(self._loss(model(sample), targets)["core_loss"])


class Memory:
    """The most memory that a training held, but for what is done beside it.

    Parameters
    ----------
    limit_gb : float or None
        Of a GPU, in 10⁹ bytes.
    """

    def __init__(self, limit_gb: float | None) -> None:
        self._limit_gb = limit_gb
        self._most: int | None = None
        self._before = 0 if accelerator() == "cuda" else resident_bytes("VmRSS")
        self._limit()

    def _limit(self) -> None:
        if accelerator() == "cuda" and self._limit_gb is not None:
            total = torch.cuda.get_device_properties(0).total_memory
            share = min(1.0, self._limit_gb * 1e9 / total)
            torch.cuda.set_per_process_memory_fraction(share)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Do something that counts nothing, and has all of the memory."""
        held = self.peak_bytes
        on_gpu = accelerator() == "cuda"
        if on_gpu:
            torch.cuda.set_per_process_memory_fraction(1.0)
        yield
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        elif sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
        self._limit()
        self._most = held

    @property
    def peak_bytes(self) -> int | None:
        """The most so far; None where that is not known."""
        if accelerator() == "cuda":
            now_bytes: int | None = torch.cuda.max_memory_allocated()
        else:
            now_bytes = resident_bytes("VmHWM")
        if now_bytes is None or self._before is None:
            return None
        return max(now_bytes - self._before, self._most or 0)


def resident_bytes(name: str) -> int | None:
    """Return ``VmRSS``, what this process holds, or ``VmHWM``, its most; None but on Linux."""
    if sys.platform != "linux":
        return None
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None


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


class Rounds:
    """The batches of an epoch, which see how long a trainer takes with them.

    Parameters
    ----------
    trainer : Trainer
    shared : Conditions
    judge : Judge
    memory : Memory

    Attributes
    ----------
    times : list of tuple
        Of each round, seconds a frame of preparing it and in all.
    losses : list of float
    """

    def __init__(self, trainer: Any, shared: Conditions, judge: Judge, memory: Memory) -> None:
        self._trainer = trainer
        self._shared = shared
        self._judge = judge
        self._memory = memory
        self._batches = endless(trainer.train_dataset)
        self.times: list[tuple[float, float]] = []
        self.losses: list[float] = []

    def __len__(self) -> int:
        return self._shared.judged_after[-1]

    def __iter__(self) -> Iterator[Any]:
        self._note_loss()
        yield from islice(self._batches, _WARM_UP)
        frames = self._shared.steps * self._trainer.train_dataset.batch_size
        for _ in range(self._shared.rounds):
            loading_s, started = 0.0, now()
            for _ in range(self._shared.steps):
                asked = now()
                batch = next(self._batches)
                loading_s += now() - asked
                yield batch
            self.times.append((loading_s / frames, (now() - started) / frames))
            self._note_loss()

    def _note_loss(self) -> None:
        with self._memory.aside():
            self.losses.append(self._judge(self._trainer.model.module))


def remember_frames(trainer: Any, recipe: DictConfig, steps: int) -> None:
    """Let a frozen backbone see the frames of some steps."""
    small = recipe.scratch.train.precision == "bfloat16"
    trunk = trainer.model.module.backbone.vision_backbone.trunk
    for batch in islice(endless(trainer.train_dataset), steps):
        for part in batch if isinstance(batch, list) else [batch]:
            with torch.autocast(accelerator(), torch.bfloat16, enabled=small):
                trunk(part["angio"].img_batch.to(accelerator()))


def measure(way: Way, shared: Conditions) -> Measured | None:
    """Train in one way, in a fresh process; None if the memory does not suffice."""
    prepare_runtime(threads=load_config(shared.parameters).train.threads)
    # The stock meter forgets the peak after each step.
    stock_trainer.MemMeter = NoMemoryMeter
    frames = load_frames(shared.dataset, "train", "vessel_tree")
    prepare(frames, shared.resolution_px, shared.store)
    with as_a_training_is(way):
        recipe = recipe_of(way, shared, frames)
        memory = Memory(shared.limit_gb)
        try:
            trainer = trainer_of(stock_recipe_of(recipe, frames) if way.stock else recipe)
            rounds = Rounds(trainer, shared, Judge(shared, frames), memory)
            if way.remembered:
                remember_frames(trainer, recipe, len(rounds))
            with redirect_stderr(StringIO()):  # of the progress of an epoch that is one of many
                trainer.train_epoch(rounds)
        except torch.OutOfMemoryError:
            return None
    loading_s, total_s = (statistics.median(part) for part in zip(*rounds.times, strict=True))
    return Measured(
        frames=recipe.scratch.phase.batch_size,
        loading_s=loading_s,
        total_s=total_s,
        peak_bytes=memory.peak_bytes,
        losses=tuple(rounds.losses),
    )


def head(shared: Conditions) -> tuple[str, ...]:
    """Return the names of the columns."""
    return (
        "",
        "frames a step",
        "frames a second",
        "times stock with one",
        "times stock with as many",
        "the same, frames ready",
        "ms to prepare a frame",
        "peak memory, GB",
        f"loss after {', '.join(map(str, shared.judged_after))} steps",
    )


def stock_with(frames: int, found: Mapping[str, Measured | None]) -> Measured | None:
    """Return what was measured of the stock trainer with so many frames a step."""
    of_stock = (found.get(name) for name in (_STOCK_ONE, _STOCK_SET))
    return next((stock for stock in of_stock if stock and stock.frames == frames), None)


def row(name: str, found: Mapping[str, Measured | None]) -> tuple[str, ...]:
    """Return a line of the table."""
    way = found[name]
    if way is None:
        return (name, "", "out of memory", *[""] * 6)
    one, alike = stock_with(1, found), stock_with(way.frames, found)
    return (
        name,
        str(way.frames),
        f"{1 / way.total_s:.2f}",
        f"{one.total_s / way.total_s:.2f}" if one else "",
        f"{alike.total_s / way.total_s:.2f}" if alike else "",
        f"{alike.step_s / way.step_s:.2f}" if alike else "",
        f"{way.loading_s * 1000:.1f}",
        "unknown" if way.peak_bytes is None else f"{way.peak_bytes / 1e9:.2f}",
        ", ".join(f"{loss:.1f}" for loss in way.losses),
    )


def show(found: Mapping[str, Measured | None], shared: Conditions, markdown: bool) -> None:
    """Print all that was measured."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    limit = "" if shared.limit_gb is None else f", of which {shared.limit_gb:g} GB"
    title = f"Model {shared.size} at {shared.resolution_px} px on {device}{limit}"
    show_table(title, head(shared), [row(name, found) for name in found], markdown=markdown)


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
            scratch=Path(scratch),
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
            typer.echo(" | ".join(row(name, found)), err=True)
        show(found, shared, markdown)


if __name__ == "__main__":
    typer.run(main)
