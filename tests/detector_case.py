"""A data set of a few small frames, and workers that train on it.

Workers are forked from the test's own process, which has imported torch and ``sam3`` already: that
saves the half minute that a launcher's fresh processes would need.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from ruamel.yaml import YAML

from sam3_angio.anatomy import segments
from sam3_angio.coco import (
    Category,
    Document,
    ImageEntry,
    annotate,
    decode_mask,
    load_document,
    write_document,
)
from sam3_angio.lesion_labels import LESION_CATEGORY
from sam3_angio.split import merge_findings

SIDE_PX = 64
REPOSITORY = Path(__file__).parent.parent
_PATIENCE_S = 240


def vessel(seed: int, side_px: int = SIDE_PX) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a picture with one dark curved band, and the band."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side_px, :side_px] / side_px
    middle = rng.uniform(0.3, 0.7) + 0.15 * np.sin(2 * np.pi * (column + rng.uniform()))
    mask = np.abs(row - middle) < 0.06
    picture = 170 - 90 * mask + rng.normal(0, 6, mask.shape)
    return picture.clip(0, 255).astype(np.uint8), mask


def write_dataset(root: Path, *, train: int = 8, val: int = 3) -> Path:
    """Write ``dataset/`` with some frames of each split; return its folder."""
    first = 1
    for split, count in (("train", train), ("val", val)):
        _write_split(root / "dataset" / split, range(first, first + count))
        first += count
    return root / "dataset"


def _write_split(folder: Path, ids: range) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "vessel_tree").mkdir()
    images, marks = [], []
    for number in ids:
        picture, mask = vessel(number)
        image = _entry(number)
        Image.fromarray(picture).save(folder / "images" / image.file_name)
        images.append(image)
        marks.append(
            annotate(
                mask,
                annotation_id=number,
                image_id=number,
                category_id=1,
                phrase="coronary artery",
            )
        )
    document = Document(
        images=tuple(images),
        annotations=tuple(marks),
        categories=(Category(id=1, name="coronary artery"),),
    )
    write_document(folder / "vessel_tree" / "annotations.json", document)


def write_segments(root: Path, *, train: int = 8, val: int = 4) -> Path:
    """Write ``dataset/`` with a labelled segment a frame; return its folder.

    A band across is a segment of the right artery, the proximal one above; a band down is one of
    the left artery, the proximal one on the left.
    """
    first = 1
    for split, count in (("train", train), ("val", val)):
        _write_segment_split(root / "dataset" / split, range(first, first + count))
        first += count
    return root / "dataset"


def segment_picture(cass: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a picture of segment 1, 2, 12 or 13, and its mask."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(0.2, 0.3) if cass in (1, 12) else rng.uniform(0.7, 0.8)
    across = np.abs(np.mgrid[:SIDE_PX, :SIDE_PX][0] / SIDE_PX - middle) < 0.06
    mask = across if cass in (1, 2) else across.T
    picture = 170 - 90 * mask + rng.normal(0, 6, mask.shape)
    return picture.clip(0, 255).astype(np.uint8), mask


def _write_segment_split(folder: Path, ids: range) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "segments").mkdir()
    images, marks = [], []
    for number in ids:
        cass = (1, 12, 2, 13)[number % 4]
        image = replace(_entry(number), cass_segment=cass, artery=segments()[cass].artery)
        picture, mask = segment_picture(cass, number)
        Image.fromarray(picture).save(folder / "images" / image.file_name)
        images.append(image)
        marks.append(
            annotate(
                mask,
                annotation_id=number,
                image_id=number,
                category_id=cass,
                phrase=segments()[cass].phrase,
            )
        )
    document = Document(
        images=tuple(images),
        annotations=tuple(marks),
        categories=tuple(Category(id=n, name=s.phrase) for n, s in segments().items()),
    )
    write_document(folder / "segments" / "annotations.json", document)


def write_findings(dataset: Path, *, every: int = 2) -> None:
    """Give some frames a lesion, the first one of as many: the middle third of its segment."""
    for split in ("train", "val"):
        segments = load_document(dataset / split / "segments" / "annotations.json")
        middle = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
        third = slice(SIDE_PX // 3, 2 * SIDE_PX // 3)
        middle[third, :] = middle[:, third] = True
        lesions = Document(
            images=segments.images,
            annotations=tuple(
                annotate(
                    decode_mask(mark.segmentation) & middle,
                    annotation_id=mark.image_id,
                    image_id=mark.image_id,
                    category_id=LESION_CATEGORY.id,
                    phrase=LESION_CATEGORY.name,
                )
                for mark in segments.annotations
                if mark.image_id % every == 1
            ),
            categories=(LESION_CATEGORY,),
        )
        path = dataset / split / "findings" / "annotations.json"
        write_document(path, merge_findings(segments, lesions))


def _entry(number: int) -> ImageEntry:
    frame = f"p{number:010x}-{number:08x}"
    return ImageEntry(
        id=number,
        file_name=f"{frame}.png",
        width=SIDE_PX,
        height=SIDE_PX,
        frame_id=frame,
        patient=frame[:11],
        artery="RCA",
        cass_segment=1,
        primary_deg=0.0,
        secondary_deg=0.0,
        spacing_row_mm=None,
        spacing_column_mm=None,
    )


def log_of(folder: Path, rank: int) -> str:
    """Return what a worker that `run_workers` or `run_machines` started said."""
    return (folder / f"rank{rank}.log").read_text()


def curve_of(curves: Path, name: str) -> list[float]:
    """Return a learning curve, such as ``train/loss``, of a folder of curves."""
    lines = (curves / f"plots/metrics/{name}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def set_train(folder: Path, **values: object) -> None:
    """Change values of ``train`` in a project's ``params.yaml``."""
    _set(folder, "train", values)


def set_model(folder: Path, **values: object) -> None:
    """Change values of ``model`` in a project's ``params.yaml``."""
    _set(folder, "model", values)


def _set(folder: Path, section: str, values: Mapping[str, object]) -> None:
    yaml, path = YAML(), folder / "params.yaml"
    params = yaml.load(path.read_text(encoding="utf-8"))
    params[section].update(values)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)


def write_params(
    root: Path, *, section: str = "train_phase1", workers: int = 2, **changes: object
) -> None:
    """Write the repository's ``params.yaml`` for a small and short training.

    Parameters
    ----------
    root : Path
    section : str
        Which section is changed besides.
    workers : int
        The baseline has the threads of all of them. A forked process that asks for more than one
        waits for ever when its parent has used several: OpenMP's threads do not survive a fork.
    **changes
        Values of that section; a dictionary changes some values of a subsection.
    """
    yaml = YAML()
    params = yaml.load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    params["model"]["resolution"] = SIDE_PX
    params["model"]["checkpoint"] = "none"
    params["train"]["threads"] = 1
    params["train"]["workers"] = workers
    params["train"]["loader_workers"] = 0
    params["train"]["timeout_s"] = 60
    for phase in (name for name in params if name.startswith("train_phase")):
        params[phase].update(
            {"epochs": 3, "batch_size": 2, "val_every": 2, "instances": 2, "mask_points": None}
        )
    for key, value in changes.items():
        if isinstance(value, dict):
            params[section][key].update(value)
        else:
            params[section][key] = value
    with (root / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A forked worker."""

    pid: int

    def wait(self) -> int:
        """Return its exit status; minus the signal's number if one ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start_workers(work: Callable[[], None], *, folder: Path, count: int) -> list[Worker]:
    """Fork workers of one group that run `work` in `folder`; their errors go to ``rank.log``."""
    port = _free_port()
    return [
        _start(work, folder, {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}, port)
        for rank in range(count)
    ]


def run_machines(work: Callable[[], None], *, folders: Sequence[Path]) -> list[int]:
    """Run a worker in each of some folders, as if each were on a machine of its own."""
    port = _free_port()
    alone = {"LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "WORLD_SIZE": len(folders)}
    workers = [
        _start(work, folder, {"RANK": rank, **alone}, port) for rank, folder in enumerate(folders)
    ]
    return [worker.wait() for worker in workers]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(work: Callable[[], None], folder: Path, place: dict[str, int], port: int) -> Worker:
    pid = os.fork()
    if pid:
        return Worker(pid=pid)
    code = 1
    try:
        os.chdir(folder)
        os.environ.update({name: str(value) for name, value in place.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        log = Path(f"rank{place['RANK']}.log").open("a", encoding="utf-8")  # noqa: SIM115 - to the end
        sys.stdout = sys.stderr = log
        # One that hangs says where, and fails its test alone.
        faulthandler.dump_traceback_later(_PATIENCE_S, exit=True, file=log)
        work()
        code = 0
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:  # noqa: BLE001 - a forked child may not return into the test
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_workers(work: Callable[[], None], *, folder: Path, count: int = 1) -> list[int]:
    """Run workers to their end; return their exit statuses."""
    return [worker.wait() for worker in start_workers(work, folder=folder, count=count)]


def forget_training(folder: Path) -> None:
    """Remove all that a training leaves."""
    for name in ("runs", "models", "predictions", "metrics"):
        shutil.rmtree(folder / name, ignore_errors=True)
