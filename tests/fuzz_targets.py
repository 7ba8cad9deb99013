"""What is fuzzed: each reader of files that others wrote, as a function of the file's bytes.

A target returns for a file that it accepts or refuses; any other exception than ``AngioError`` is a
defect, and so is a personal value in the error.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from malformed_runs import CODECS, good
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from small_site import contour_content, segment_mask, tree_mask
from xa_files import xa_bytes

from sam3_angio.checking.finding import Notes
from sam3_angio.checking.label_set import LabelPaths, read_labels
from sam3_angio.checking.labels import label_findings
from sam3_angio.dicom import read_frame
from sam3_angio.errors import AngioError
from sam3_angio.geometry_table import COLUMNS as GEOMETRY_COLUMNS
from sam3_angio.geometry_table import read_geometry
from sam3_angio.intake.table import COLUMNS as SITE_COLUMNS
from sam3_angio.intake.table import read_site_table
from sam3_angio.label_mask import read_mask
from sam3_angio.manifest import COLUMNS as MANIFEST_COLUMNS
from sam3_angio.manifest import read_manifest
from sam3_angio.medis import contour_faults, read_contour

PLANTED = "Planted"
FRAME_SHAPE = (48, 64)


def dicom(path: Path) -> None:
    """Read a frame of a run."""
    read_frame(path, 2, name="run")


def contour(path: Path) -> None:
    """Read a contour and look at all of its lines and figures."""
    contour_faults(read_contour(path), "contour", FRAME_SHAPE)
    labels = read_labels(LabelPaths(contour=path, mask=None, tree=None), FRAME_SHAPE)
    label_findings(labels, Notes(file="table", row=2))


def mask(path: Path) -> None:
    """Read a mask."""
    read_mask(path)


def site_table(path: Path) -> None:
    """Read a site's table."""
    read_site_table(path, "RAO+")


def manifest(path: Path) -> None:
    """Read a manifest."""
    read_manifest(path)


def geometry(path: Path) -> None:
    """Read the table of geometry."""
    read_geometry(path)


#: By name: the reader and the suffix of its files.
TARGETS: dict[str, tuple[Callable[[Path], None], str]] = {
    "dicom": (dicom, ".dcm"),
    "contour": (contour, ".json"),
    "mask": (mask, ".png"),
    "array": (mask, ".npy"),
    "site_table": (site_table, ".csv"),
    "manifest": (manifest, ".csv"),
    "geometry": (geometry, ".csv"),
}


def one_input(name: str, path: Path, content: bytes) -> bool:
    """Give bytes to a target; tell whether it took them for good ones.

    Raises
    ------
    Exception
        Any but ``AngioError``: the target has a defect.
    """
    path.write_bytes(content)
    try:
        TARGETS[name][0](path)
    except AngioError as error:
        if PLANTED in str(error) or str(path.parent) in str(error):
            raise RuntimeError("a personal value is in the error") from error
        return False
    return True


def seeds(name: str) -> list[bytes]:
    """Return good files of a target, to be damaged."""
    return _SEEDS[name]()


def _dicom_seeds() -> list[bytes]:
    syntaxes = (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, *CODECS.values())
    return [xa_bytes(good(syntax)) for syntax in syntaxes]


def _contour_seeds() -> list[bytes]:
    content = contour_content(2, 2)
    content["centerline"] = [[x, 21.5] for x, _y in content["left_edge"]]
    content["calibration"] = {"scale_factor": 3.4, "imager_pixel_spacing_mm": [0.3, 0.3]}
    content["measurements"] = {"diameter_stenosis_pct": 46.3, "MLD_mm": 1.09, "MLD_x_coord": 30}
    short = content | {key: content[key][::25] for key in ("left_edge", "right_edge")}
    return [json.dumps(one).encode() for one in (short | {"segment_name": PLANTED}, content)]


def _png(pixels: object) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")  # type: ignore[arg-type]
    return stream.getvalue()


def _array(pixels: object) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, pixels)  # type: ignore[arg-type]
    return stream.getvalue()


def _csv(columns: tuple[str, ...], *rows: list[str]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    return stream.getvalue().encode()


_SITE_ROW = [*["Planted 1", "MID LAD FINAL", "INDEX", "20", "13", "7", "8.9", "24.3"], *"abcd"]
_MANIFEST_ROW = (
    f"p{'1' * 10}-{'2' * 8}|p{'1' * 10}|Planted 1|MID LAD|INDEX|LCA|13|7|20|8.9|24.3|Planted/a|"
    f"100|{'a' * 64}|labels/p|labels/c||2"
).split("|")
_GEOMETRY_ROW = (
    f"p{'1' * 10}-{'2' * 8}|p{'1' * 10}|48|64|2|5|8.9|24.3|header|0.2|0.2|sod_sid|1.2|8|"
    "window|1 2 30 40"
).split("|")

_SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "dicom": _dicom_seeds,
    "contour": _contour_seeds,
    "mask": lambda: [_png(segment_mask()), _png(255 * segment_mask())],
    "array": lambda: [_array(segment_mask()), _array(tree_mask()[::8].astype(float))],
    "site_table": lambda: [_csv(SITE_COLUMNS, _SITE_ROW, _SITE_ROW)],
    "manifest": lambda: [_csv(MANIFEST_COLUMNS, _MANIFEST_ROW)],
    "geometry": lambda: [_csv(GEOMETRY_COLUMNS, _GEOMETRY_ROW)],
}
