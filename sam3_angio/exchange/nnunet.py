"""The frames of Phase 1 as nnU-Net's raw data set, for a baseline on the same frames.

Source: nnU-Net v2, ``documentation/dataset_format.md``. All frames go to ``imagesTr``; which of
them train is in ``splits_final.json``, whose one fold is this project's own split.

Conventions
-----------
Pictures are 8-bit grey PNG, masks 0 and 1.
"""

from __future__ import annotations

import re
from pathlib import Path

from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.coco import decode_mask, load_document
from sam3_angio.errors import ConfigError, DataError, Fault
from sam3_angio.files import replacing, write_json
from sam3_angio.label_mask import write_mask
from sam3_angio.pictures import has_picture, read_picture

_NAME = re.compile(r"Dataset\d{3}_[A-Za-z0-9_-]+")


def export_nnunet(dataset: Path, out: Path) -> dict[str, int]:
    """Write nnU-Net's raw data set of the vessel trees.

    Parameters
    ----------
    dataset : Path
        Written by ``split``.
    out : Path
        Folder to make, such as ``nnUNet_raw/Dataset501_Coronary``.

    Returns
    -------
    dict of str to int
        Frames by split.

    Raises
    ------
    ConfigError
        `out` exists, or its name is not one that nnU-Net finds.
    DataError
        A picture is missing.
    """
    if not _NAME.fullmatch(out.name):
        raise ConfigError("--out ends in DatasetNNN_Name, with three digits: Dataset501_Coronary.")
    if out.exists():
        raise ConfigError(f"{out.name} exists; give another folder.")
    with replacing(out) as folder:
        for name in ("imagesTr", "labelsTr"):
            (folder / name).mkdir(parents=True)
        frames = {side: _write_frames(dataset / side, folder) for side in ("train", "val")}
        total = sum(map(len, frames.values()))
        write_json(
            folder / "dataset.json",
            {
                "channel_names": {"0": "angiogram"},
                "labels": {"background": 0, TREE_PHRASE: 1},
                "numTraining": total,
                "file_ending": ".png",
            },
        )
        write_json(folder / "splits_final.json", [frames])
    return {split: len(names) for split, names in frames.items()}


def _write_frames(side: Path, folder: Path) -> list[str]:
    document = load_document(side / "vessel_tree" / "annotations.json")
    pictures = {image.id: side / "images" / image.file_name for image in document.images}
    missing = [
        Fault(file=path.name, message="the picture is missing.", fix="Run split again.")
        for path in pictures.values()
        if not has_picture(path)
    ]
    if missing:
        raise DataError("Pictures are missing:", missing)
    for mark in document.annotations:
        picture = pictures[mark.image_id]
        target = folder / "imagesTr" / f"{picture.stem}_0000.png"
        target.write_bytes(read_picture(picture))
        write_mask(folder / "labelsTr" / picture.name, decode_mask(mark.segmentation))
    return sorted(pictures[mark.image_id].stem for mark in document.annotations)
