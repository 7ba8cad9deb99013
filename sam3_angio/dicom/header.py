"""What the elements of an angiographic run mean, and whether they can be meant.

Sources: PS3.3 C.7.6.3 (Image Pixel), C.7.6.11 (Display Shutter), C.8.7.1 (X-Ray Image), C.8.7.5 (XA
Positioner), C.11.1 and C.11.2 (Rescale and VOI LUT). A wrong description of the pixels is refused.
Wrong geometry (NaN, zero, negative or impossible numbers) is dropped and reported as a warning,
because it can be had from elsewhere; it is never passed on.

Conventions
-----------
Angles in degrees, primary positive towards LAO, secondary positive cranial; lengths in
millimetres; ``None`` or NaN where a fact is unknown.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sam3_angio.acquisition import ViewAngle
from sam3_angio.dicom.elements import DataSet
from sam3_angio.dicom.tags import UnreadableError, tag_text

ROWS, COLUMNS, FRAMES = 0x00280010, 0x00280011, 0x00280008
BITS_ALLOCATED, BITS_STORED, HIGH_BIT = 0x00280100, 0x00280101, 0x00280102
SAMPLES, PHOTOMETRIC, REPRESENTATION = 0x00280002, 0x00280004, 0x00280103
SOP_CLASS, MODALITY, STUDY = 0x00080016, 0x00080060, 0x0020000D
SID, SOD, MAGNIFICATION, DETECTOR_SPACING = 0x00181110, 0x00181111, 0x00181114, 0x00181164
MOTION, PRIMARY, SECONDARY = 0x00181500, 0x00181510, 0x00181511
PRIMARY_INCREMENT, SECONDARY_INCREMENT = 0x00181520, 0x00181521
SHUTTER_SHAPE, SHUTTER_LEFT, SHUTTER_RIGHT = 0x00181600, 0x00181602, 0x00181604
SHUTTER_UPPER, SHUTTER_LOWER = 0x00181606, 0x00181608
RELATIONSHIP, CENTER, WIDTH, VOI_FUNCTION = 0x00281040, 0x00281050, 0x00281051, 0x00281056
BURNED_IN = 0x00280301
INTERCEPT, SLOPE, VOI_LUT = 0x00281052, 0x00281053, 0x00283010
LUT_DESCRIPTOR, LUT_DATA = 0x00283002, 0x00283006

ENHANCED_XA = "1.2.840.10008.5.1.4.1.1.12.1.1"

#: Larger than any detector; keeps a lying header from asking for gigabytes.
MAX_SIDE_PX = 8192
MAX_FRAMES = 20_000

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")

BurnedIn = Literal["YES", "NO", ""]
VoiFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lut:
    """A look-up table (PS3.3 C.11.1.1.1).

    Attributes
    ----------
    first : int
        Input that the first entry belongs to.
    bits : int
        Of an entry.
    entries : (N,) ndarray of uint16
    """

    first: int
    bits: int
    entries: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window (PS3.3 C.11.2.1.2); the first one where a run has several."""

    center: float
    width: float
    function: VoiFunction


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """How stored values become grey levels.

    A Modality LUT Sequence is not part of it. In XA, whether Pixel Intensity Relationship is LOG or
    DISP, it leads from stored values back to X-ray intensity and is not for display; windows and
    VOI LUTs count from the stored values (PS3.3 C.8.7.1.1.2). Viewers such as DCMTK's pass over it.

    Attributes
    ----------
    slope, intercept : float
        Rescale; 1 and 0 where there is none.
    voi_lut : Lut or None
    window : Window or None
    inverted : bool
        MONOCHROME1: the lowest value is white.
    """

    slope: float
    intercept: float
    voi_lut: Lut | None
    window: Window | None
    inverted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where tube, patient and detector were.

    Attributes
    ----------
    primary_deg, secondary_deg : float
        Of the first frame; NaN where unknown.
    primary_increments_deg, secondary_increments_deg : tuple of float
        A frame's difference from the first one; empty unless the positioner moved.
    detector_spacing_mm : tuple of float or None
        Between rows and between columns, at the detector, not corrected for magnification.
    sid_mm, sod_mm, magnification : float
        Source to detector, source to patient, estimated magnification; NaN where unknown.
    """

    primary_deg: float
    secondary_deg: float
    primary_increments_deg: tuple[float, ...]
    secondary_increments_deg: tuple[float, ...]
    detector_spacing_mm: tuple[float, float] | None
    sid_mm: float
    sod_mm: float
    magnification: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutter:
    """Edges of a rectangular shutter as stored: columns and rows, counted from 1."""

    left: int
    right: int
    upper: int
    lower: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """The facts of a run.

    Attributes
    ----------
    rows, columns, frames : int
    bits_allocated : {8, 16}
    bits_stored : int
    photometric : {"MONOCHROME1", "MONOCHROME2"}
    transfer_syntax : str
        UID.
    study_uid : str
        StudyInstanceUID, to tell that two patients are one; empty where missing. Never written.
    intensity_relationship : str
        PixelIntensityRelationship: ``LIN``, ``LOG``, ``DISP`` or empty.
    burned_in : {"YES", "NO", ""}
        Whether the header says that its pictures hold text which may identify the patient; empty
        where it says nothing that is defined.
    has_overlays : bool
        Drawings, often text, lie beside the pixels. They are not read.
    shutter : Shutter or None
        Where the header names the four edges of a rectangular one.
    geometry : Geometry
    display : Display
    warnings : tuple of (str, str)
        Element and what is wrong with it, for facts that were dropped.
    """

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    photometric: str
    transfer_syntax: str
    study_uid: str
    intensity_relationship: str
    burned_in: BurnedIn
    has_overlays: bool
    shutter: Shutter | None
    geometry: Geometry
    display: Display
    warnings: tuple[tuple[str, str], ...]

    @property
    def frame_bytes(self) -> int:
        """Size of an uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Of the stored values, in the machine's byte order."""
        return np.dtype(np.uint8 if self.bits_allocated == 8 else np.uint16)

    def view(self, frame_index: int) -> ViewAngle | None:
        """Return a frame's view angle, or None where the header has none.

        The first frame's angle plus its increment; NaN increments (a moving positioner whose
        steps cannot be told) give None.
        """
        geometry = self.geometry
        primary, secondary = geometry.primary_deg, geometry.secondary_deg
        if geometry.primary_increments_deg:
            primary += geometry.primary_increments_deg[frame_index]
            secondary += geometry.secondary_increments_deg[frame_index]
        if math.isnan(primary) or math.isnan(secondary):
            return None
        return ViewAngle(primary_deg=primary, secondary_deg=secondary)


def run_header(data_set: DataSet) -> RunHeader:
    """Give the elements of a run their meaning.

    Raises
    ------
    UnreadableError
        If this is no angiographic run in grey levels, or its pixels are described impossibly.
    """
    facts = _Facts(data_set)
    _require_angiogram(facts)
    bits_allocated, bits_stored = _bits(facts)
    warnings: list[tuple[str, str]] = []
    return RunHeader(
        rows=facts.whole(ROWS, 1, MAX_SIDE_PX),
        columns=facts.whole(COLUMNS, 1, MAX_SIDE_PX),
        frames=facts.frames(),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        photometric=facts.code(PHOTOMETRIC),
        transfer_syntax=data_set.transfer_syntax,
        study_uid=facts.code(STUDY),
        intensity_relationship=facts.code(RELATIONSHIP),
        burned_in=_burned_in(facts),
        has_overlays=data_set.has_overlays,
        shutter=_shutter(facts),
        geometry=_geometry(facts, warnings),
        display=_display(facts),
        warnings=tuple(warnings),
    )


class _Facts:
    """Typed access to the elements of a run."""

    def __init__(self, data_set: DataSet) -> None:
        self._values = data_set.values
        self._sequences = data_set.sequences
        self._order = ">" if data_set.big_endian else "<"

    def code(self, tag: int) -> str:
        """Return the first value of a code string; empty where there is none."""
        return self.texts(tag)[0] if tag in self._values else ""

    def texts(self, tag: int) -> list[str]:
        content = self._values.get(tag, b"").decode("ascii", "replace").rstrip("\0 ")
        return [part.strip() for part in content.split("\\")]

    def whole(self, tag: int, low: int, high: int) -> int:
        """Return an unsigned 16-bit value within bounds."""
        content = self._values.get(tag, b"")
        if len(content) != 2:
            raise UnreadableError(tag_text(tag), "it is missing, empty or has several values.")
        value = int(struct.unpack(f"{self._order}H", content)[0])
        if not low <= value <= high:
            raise UnreadableError(tag_text(tag), f"{value} is not within {low} to {high}.")
        return value

    def frames(self) -> int:
        """Return NumberOfFrames; a run without it has one (PS3.3 C.7.6.6)."""
        if FRAMES not in self._values:
            return 1
        text = "\\".join(self.texts(FRAMES))
        if not re.fullmatch(r"\+?\d{1,11}", text) or not 1 <= int(text) <= MAX_FRAMES:
            message = f"it is no whole number from 1 to {MAX_FRAMES}."
            raise UnreadableError(tag_text(FRAMES), message)
        return int(text)

    def decimals(self, tag: int) -> tuple[float, ...] | None:
        """Return a decimal string's values; None if absent, NaN for what is no finite number."""
        texts = self.texts(tag)
        if texts == [""]:
            return None
        numbers = (float(text) if _DECIMAL.fullmatch(text) else math.nan for text in texts)
        return tuple(number if math.isfinite(number) else math.nan for number in numbers)

    def lut(self, tag: int) -> Lut | None:
        """Return the first table of a LUT sequence."""
        item = self._sequences.get(tag)
        if not item:
            return None
        descriptor, data = item.get(LUT_DESCRIPTOR, b""), item.get(LUT_DATA, b"")
        if len(descriptor) != 6:
            raise UnreadableError(tag_text(tag), "the descriptor has not three values.")
        count, first, bits = struct.unpack(f"{self._order}HHH", descriptor)
        return _lut(tag, (count or 65536, first, bits), data, self._order)


def _lut(tag: int, descriptor: tuple[int, int, int], data: bytes, order: str) -> Lut:
    count, first, bits = descriptor
    if not 8 <= bits <= 16:
        raise UnreadableError(tag_text(tag), f"entries of {bits} bits, expected 8 to 16.")
    if len(data) == 2 * count:
        entries = np.frombuffer(data, f"{order}u2").astype(np.uint16)
    elif bits == 8 and len(data) == count + count % 2:
        entries = np.frombuffer(data, np.uint8)[:count].astype(np.uint16)
    else:
        message = f"{len(data)} bytes of data for {count} entries."
        raise UnreadableError(tag_text(tag), message)
    if int(entries.max()) >= 1 << bits:
        raise UnreadableError(tag_text(tag), f"an entry does not fit into {bits} bits.")
    return Lut(first=first, bits=bits, entries=entries)


def _require_angiogram(facts: _Facts) -> None:
    modality = facts.code(MODALITY)
    if modality != "XA":
        found = f"'{modality}'" if re.fullmatch("[A-Z]{2,4}", modality) else "none that is known"
        raise UnreadableError(tag_text(MODALITY), f"{found}, expected 'XA'.")
    if facts.code(SOP_CLASS) == ENHANCED_XA:
        message = "this is an Enhanced XA object, whose geometry is kept frame by frame."
        raise UnreadableError(tag_text(SOP_CLASS), message, "Export the run as XA Image Storage.")
    if facts.whole(SAMPLES, 1, 4) != 1:
        raise UnreadableError(tag_text(SAMPLES), "the run is in colour, expected one sample.")
    photometric = facts.code(PHOTOMETRIC)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        message = "it is neither MONOCHROME1 nor MONOCHROME2."
        raise UnreadableError(tag_text(PHOTOMETRIC), message)


def _burned_in(facts: _Facts) -> BurnedIn:
    said: dict[str, BurnedIn] = {"YES": "YES", "NO": "NO"}
    return said.get(facts.code(BURNED_IN).upper(), "")


def _shutter(facts: _Facts) -> Shutter | None:
    """Return a rectangular shutter; it is a hint, so that an unusable one is none."""
    edges = (SHUTTER_LEFT, SHUTTER_RIGHT, SHUTTER_UPPER, SHUTTER_LOWER)
    texts = ["\\".join(facts.texts(edge)) for edge in edges]
    is_usable = all(re.fullmatch(r"[+-]?\d{1,6}", text) for text in texts)
    if facts.texts(SHUTTER_SHAPE) != ["RECTANGULAR"] or not is_usable:
        return None
    left, right, upper, lower = map(int, texts)
    return Shutter(left=left, right=right, upper=upper, lower=lower)


def _bits(facts: _Facts) -> tuple[int, int]:
    """Return bits allocated and stored; PS3.3 C.8.7.1.1 leaves X-ray images little choice."""
    allocated = facts.whole(BITS_ALLOCATED, 1, 64)
    if allocated not in (8, 16):
        raise UnreadableError(tag_text(BITS_ALLOCATED), f"{allocated}, expected 8 or 16.")
    stored = facts.whole(BITS_STORED, 6, allocated)
    if facts.whole(HIGH_BIT, 0, 64) != stored - 1:
        message = f"it does not fit BitsStored {stored}, expected {stored - 1}."
        raise UnreadableError(tag_text(HIGH_BIT), message)
    if facts.whole(REPRESENTATION, 0, 1) != 0:
        message = "values are said to be signed; those of X-ray images are unsigned."
        raise UnreadableError(tag_text(REPRESENTATION), message)
    return allocated, stored


def _geometry(facts: _Facts, warnings: list[tuple[str, str]]) -> Geometry:
    def one(tag: int, low: float, high: float) -> float:
        return _plausible(facts, warnings, tag, low, high)

    sid_mm, sod_mm = one(SID, 300, 3000), one(SOD, 100, 3000)
    if sod_mm >= sid_mm:
        warnings.append((tag_text(SOD), "the patient is said to be behind the detector."))
        sid_mm = sod_mm = math.nan
    primary_deg, secondary_deg = one(PRIMARY, -180, 180), one(SECONDARY, -90, 90)
    return Geometry(
        primary_deg=primary_deg,
        secondary_deg=secondary_deg,
        primary_increments_deg=_increments(facts, warnings, PRIMARY_INCREMENT),
        secondary_increments_deg=_increments(facts, warnings, SECONDARY_INCREMENT),
        detector_spacing_mm=_detector_spacing(facts, warnings),
        sid_mm=sid_mm,
        sod_mm=sod_mm,
        magnification=one(MAGNIFICATION, 1, 5),
    )


def _plausible(
    facts: _Facts, warnings: list[tuple[str, str]], tag: int, low: float, high: float
) -> float:
    values = facts.decimals(tag)
    if values is None:
        return math.nan
    if len(values) != 1 or not low <= values[0] <= high:
        warnings.append((tag_text(tag), f"not one number within {low:g} to {high:g}; not used."))
        return math.nan
    return values[0]


def _detector_spacing(facts: _Facts, warnings: list[tuple[str, str]]) -> tuple[float, float] | None:
    values = facts.decimals(DETECTOR_SPACING)
    if values is None:
        return None
    if len(values) != 2 or not all(0.02 <= value <= 2 for value in values):
        message = "not two numbers within 0.02 to 2 mm; not used."
        warnings.append((tag_text(DETECTOR_SPACING), message))
        return None
    return values[0], values[1]


def _increments(facts: _Facts, warnings: list[tuple[str, str]], tag: int) -> tuple[float, ...]:
    """Return each frame's difference from the first one; empty unless the positioner moved."""
    if facts.code(MOTION) != "DYNAMIC":
        return ()
    values, frames = facts.decimals(tag) or (), facts.frames()
    if not values and any(map(facts.decimals, (PRIMARY_INCREMENT, SECONDARY_INCREMENT))):
        return (0.0,) * frames  # it moved around the other axis
    if len(values) == 1:
        values = (0.0, *values * (frames - 1))
    if len(values) != frames or not all(abs(value) <= 180 for value in values):
        message = f"the positioner moved, but there are not {frames} increments; no angle is known."
        warnings.append((tag_text(tag), message))
        return (math.nan,) * frames
    differences = _from_first(np.array(values))
    if np.isnan(differences).any():
        message = "whether steps or differences from the first frame are meant cannot be told."
        warnings.append((tag_text(tag), message))
    return tuple(differences.tolist())


def _from_first(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tell steps from differences to the first frame, where both readings do not agree.

    PS3.3 C.8.7.5 says "incremental change for each frame", and vendors write either. A constant
    speed tells them apart: steps are then all the same, differences grow evenly.
    """
    summed = np.cumsum(values)
    steps, growth = values[1:], np.diff(values)
    if _even(steps):
        return summed
    if _even(growth):
        return values
    return np.where(np.abs(summed - values) <= 1.0, summed, np.nan)


def _even(values: NDArray[np.float64]) -> bool:
    return values.size == 0 or bool(np.ptp(values) <= 0.1 * abs(float(values.mean())) + 1e-9)


def _display(facts: _Facts) -> Display:
    slope, intercept = _single(facts, SLOPE, 1.0), _single(facts, INTERCEPT, 0.0)
    if slope == 0:
        raise UnreadableError(tag_text(SLOPE), "it is zero: every value would be the same.")
    return Display(
        slope=slope,
        intercept=intercept,
        voi_lut=facts.lut(VOI_LUT),
        window=_window(facts),
        inverted=facts.code(PHOTOMETRIC) == "MONOCHROME1",
    )


def _single(facts: _Facts, tag: int, default: float) -> float:
    values = facts.decimals(tag)
    if values is None:
        return default
    if len(values) != 1 or math.isnan(values[0]):
        raise UnreadableError(tag_text(tag), "it is not one number.")
    return values[0]


def _window(facts: _Facts) -> Window | None:
    centers, widths = facts.decimals(CENTER), facts.decimals(WIDTH)
    if centers is None and widths is None:
        return None
    if centers is None or widths is None:
        raise UnreadableError(tag_text(WIDTH), "window centre and width are not both there.")
    function = facts.code(VOI_FUNCTION) or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise UnreadableError(tag_text(VOI_FUNCTION), "it is none of the three that are defined.")
    narrowest = 1.0 if function == "LINEAR" else 1e-6
    if math.isnan(centers[0]) or not widths[0] >= narrowest:
        message = f"centre and width are no numbers, or the width is below {narrowest:g}."
        raise UnreadableError(tag_text(WIDTH), message)
    kinds: dict[str, VoiFunction] = {name: name for name in ("LINEAR", "LINEAR_EXACT", "SIGMOID")}
    return Window(center=centers[0], width=widths[0], function=kinds[function])
