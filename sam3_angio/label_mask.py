"""Masks that come as picture or array files: reading, writing, resizing, comparing.

Conventions
-----------
A mask is (R, C) bool. On disk it is a greyscale PNG of 0 and 1 (or 0 and 255), or a ``.npy`` array
of such values. Anything else (colour, palette, 16 bit, several pictures in one file, a rotation
in its metadata, other values) is refused, because readers disagree on what it means.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_angio.errors import DataError
from sam3_angio.files import replacing, require_regular

Mask = NDArray[np.bool_]

MAX_SIDE_PX = 8192
_ORIENTATION = 0x0112
_NPY_VERSION_1 = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    r"\{'descr': '(?P<type>\|b1|\|[iu]1|[<>][iu][248]|[<>]f[248])', "
    r"'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<rows>\d{1,5}), (?P<columns>\d{1,5})\), \}\s*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskFile:
    """A mask and how its file spells "inside".

    Attributes
    ----------
    mask : (R, C) ndarray of bool
        The mask.
    inside : int
        1 or 255; 0 for an empty mask.
    """

    mask: Mask
    inside: int


def read_mask(path: Path) -> MaskFile:
    """Read a mask.

    Parameters
    ----------
    path : Path
        ``.png`` or ``.npy``.

    Raises
    ------
    DataError
        The file is missing, damaged, too large, or no mask.
    """
    try:
        require_regular(path)
        values = _npy(path) if path.suffix.lower() == ".npy" else _png(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError.at(path.name, "the file is missing.") from None
    except Image.DecompressionBombError:
        raise DataError.at(path.name, f"a side is longer than {MAX_SIDE_PX} pixels.") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error):
        raise DataError.at(path.name, "damaged, or neither a PNG picture nor an array.") from None
    levels = set(np.unique(values).tolist())
    if not (levels <= {0, 1} or levels <= {0, 255}):
        shown = ", ".join(f"{level:g}" for level in sorted(levels)[:5])
        message = f"a mask holds 0 and 1, or 0 and 255; this one holds {shown}"
        raise DataError.at(path.name, f"{message}{' …' if len(levels) > 5 else '.'}")
    return MaskFile(mask=np.asarray(values > 0), inside=int(max(levels)))


def _npy(path: Path) -> NDArray[Any]:
    """Read an array without numpy's own reader, which parses the header as Python."""
    with path.open("rb") as stream:
        start = stream.read(10)
        header = stream.read(int.from_bytes(start[8:10], "little")).decode("latin-1")
        match = _NPY_HEADER.fullmatch(header) if start[:8] == _NPY_VERSION_1 else None
        if not match:
            raise DataError.at(path.name, "a two-dimensional array of numbers was expected.")
        shape = (int(match["rows"]), int(match["columns"]))
        _check_shape(path.name, shape)
        dtype = np.dtype(match["type"])
        content = stream.read(shape[0] * shape[1] * dtype.itemsize + 1)
    order: Literal["F", "C"] = "F" if match["fortran"] == "True" else "C"
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _png(path: Path) -> NDArray[np.uint8]:
    with Image.open(path, formats=["PNG"]) as picture:
        _check_shape(path.name, picture.size)
        if picture.mode not in ("1", "L"):
            message = f"a greyscale picture was expected, this one is {picture.mode}."
            raise DataError.at(path.name, message)
        if getattr(picture, "n_frames", 1) != 1:
            raise DataError.at(path.name, "one picture was expected, this file holds several.")
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            raise DataError.at(path.name, "the picture is marked as rotated.")
        return np.array(picture, dtype=np.uint8)


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or not 1 <= min(shape) <= max(shape) <= MAX_SIDE_PX:
        size = "×".join(str(side) for side in shape)
        raise DataError.at(
            name, f"two sides of 1 to {MAX_SIDE_PX} pixels were expected, not {size}."
        )


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask as a greyscale PNG of 0 and 1, from the bare array: no text survives.

    The run-length strategy of zlib looks for no matches by hashing, so that the bytes do not
    depend on the processor, as they may with the default strategy of zlib-ng.
    """
    picture = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8))
    with replacing(path) as temporary:
        picture.save(temporary, "PNG", compress_type=zlib.Z_RLE)


def resize_nearest(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Resize a mask so that it stays where it was.

    The centre of a new pixel, x, lies at (x + ½)·s − ½ of the old ones, and takes the nearest of
    these. (OpenCV's nearest neighbour takes floor(x·s), which shifts a mask of 512 pixels by
    0.61 px of a frame of 1016.)

    Parameters
    ----------
    mask : (R, C) ndarray of bool
        The mask.
    shape : tuple of int
        New rows and columns.
    """
    rows, columns = (
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int)
        for old, new in zip(mask.shape, shape, strict=True)
    )
    return np.asarray(mask[np.ix_(rows, columns)])


def intersection_over_union(first: Mask, second: Mask) -> float:
    """Return the overlap of two masks of one size; NaN where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else math.nan
