"""What is handed on, read by the programs that it is for, in their own versions from PyPI.

They are large and want other versions of packages, so they are no part of this environment. Each
test asks a Python that has its program and is skipped where there is none::

    python3 -m venv ../tools
    ../tools/bin/pip install nnunetv2 datumaro fiftyone label-studio-sdk
    SAM3_ANGIO_TOOLS=../tools/bin/python pytest tests/test_exchange_tools.py
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from arcade_files import write_arcade
from test_exchange import FRAMES, exported, site, tree  # noqa: F401 - a fixture

from sam3_angio.exchange.nnunet import export_nnunet
from sam3_angio.exchange.public_data import arcade_sets, import_sets

# Each writes a mask a frame into the file masks.npz.
CVAT = """
import sys, numpy as np, datumaro
found = {}
for item in datumaro.Dataset.import_from(sys.argv[1], "coco_instances"):
    assert item.media is not None, item.id
    masks = [mark.image for mark in item.annotations if mark.type.name == "mask"]
    assert masks, item.annotations
    found[item.id.split("/")[-1]] = np.any(masks, axis=0)
np.savez(sys.argv[2], **found)
"""
FIFTYONE = """
import sys, numpy as np
from pathlib import Path
# What its importer calls of each annotation, without the database that its labels want.
from fiftyone.utils.coco import _coco_segmentation_to_mask, load_coco_detection_annotations
_, _, _, images, marks = load_coco_detection_annotations(sys.argv[1] + "/labels.json")
found = {}
for number, image in images.items():
    assert (Path(sys.argv[1]) / "data" / image["file_name"]).is_file()
    full = np.zeros((image["height"], image["width"]), bool)
    for mark in marks[number]:
        size = (image["width"], image["height"])
        mask = _coco_segmentation_to_mask(mark.segmentation, mark.bbox, size)
        x, y = (round(place) for place in mark.bbox[:2])
        full[y:y + mask.shape[0], x:x + mask.shape[1]] |= mask
    found[Path(image["file_name"]).stem] = full
np.savez(sys.argv[2], **found)
"""
LABEL_STUDIO = """
import sys, json, numpy as np
from pathlib import Path
from skimage.draw import polygon2mask
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.converter import Converter
root = Path(sys.argv[1])
config = (root / "label_config.xml").read_text()
interface = LabelInterface(config)
interface.validate()
tasks = json.loads((root / "tasks.json").read_text())
for task in tasks:
    for annotation in task["annotations"]:
        assert annotation["result"]
        assert interface.validate_annotation(annotation), task["id"]
converter = Converter(config, str(root), download_resources=False)
converter.convert_to_coco(str(root / "tasks.json"), str(root / "coco"), is_dir=False)
content = json.loads((root / "coco" / "result.json").read_text())
found = {}
for image in content["images"]:
    full = np.zeros((image["height"], image["width"]), bool)
    for mark in content["annotations"]:
        if mark["image_id"] == image["id"]:
            (corners,) = mark["segmentation"]
            points = np.reshape(corners, (-1, 2))[:, ::-1] - 0.5
            full |= polygon2mask(full.shape, points)
    found[Path(image["file_name"]).stem.split("__")[-1]] = full
np.savez(sys.argv[2], **found)
"""


def tool_python(module):
    """Return the Python that has a program, or skip."""
    python = os.environ.get("SAM3_ANGIO_TOOLS", sys.executable)
    looked = subprocess.run(
        [python, "-c", f"import importlib.util as u, sys; sys.exit(not u.find_spec('{module}'))"],
        check=False,
    )
    if looked.returncode:
        pytest.skip(f"{module} is not installed; see the head of this module")
    return python


def read_by(module, script, folder, out):
    """Return the mask of each frame that a program's own reader gives."""
    said = subprocess.run(
        [tool_python(module), "-c", script, folder, out],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-2000:]
    return dict(np.load(out))


@pytest.mark.parametrize(
    ("form", "module", "script"),
    [
        ("cvat", "datumaro", CVAT),
        ("fiftyone", "fiftyone", FIFTYONE),
        ("label-studio", "label_studio_sdk", LABEL_STUDIO),
    ],
    ids=["cvat", "fiftyone", "label-studio"],
)
def test_the_tools_own_reader_gets_every_mask(site, form, module, script):  # noqa: F811
    tool_python(module)
    mask = tree(hole=True)
    exported(site, form, mask)
    read = read_by(module, script, site / form, site / "masks.npz")
    assert set(read) == set(FRAMES)
    for back in read.values():
        np.testing.assert_array_equal(back, mask)


def verify_integrity(folder):
    """Run nnU-Net's own check of a raw data set."""
    script = (
        "import sys; from nnunetv2.experiment_planning.verify_dataset_integrity import "
        "verify_dataset_integrity as verify\n"
        "if __name__ == '__main__': verify(sys.argv[1], num_processes=1)"
    )
    checker = folder.parent / "check.py"
    checker.write_text(script, encoding="utf-8")
    places = {name: str(folder.parent) for name in ("nnUNet_raw", "nnUNet_preprocessed")}
    return subprocess.run(
        [tool_python("nnunetv2"), checker, folder],
        env=os.environ | places | {"nnUNet_results": str(folder.parent)},
        check=False, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def raw(tmp_path):
    tool_python("nnunetv2")
    import_sets(arcade_sets(write_arcade(tmp_path / "arcade")), tmp_path / "dataset")
    folder = tmp_path / "Dataset501_Coronary"
    export_nnunet(tmp_path / "dataset", folder)
    return folder


def test_nnunets_own_integrity_check_accepts_the_export(raw):
    said = verify_integrity(raw)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "verify_dataset_integrity Done" in said.stdout
    assert "Warning" not in said.stdout
