"""Runs of the phantom as DICOM X-ray angiography (XA) files.

Source: DICOM PS3.3 A.14 (XA image object) and C.8.7 (its modules), PS3.5 A.4 (encapsulated
pixels). Every file is a function of its record: unique identifiers are derived from names,
dates are given, and each transfer syntax has one encoder, pinned by the lock file.

Conventions: pixels are ``(F, R, C)``, unsigned; angles have DICOM's signs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import gdcm
import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import encode_buffer as encode_jpeg2000
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, XRayAngiographicImageStorage
from rle.utils import encode_frame as encode_rle

from sam3_angio.acquisition import ViewAngle
from sam3_angio.phantom.xray import Field

Pixels = NDArray[np.uint8 | np.uint16]

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
UNCOMPRESSED = str(ExplicitVRLittleEndian)

#: Every transfer syntax that :func:`write_xa` can write.
TRANSFER_SYNTAXES = (JPEG_LOSSLESS, JPEG_LS, JPEG_2000, RLE, UNCOMPRESSED)

_UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:sam3-angio:phantom")
_PRIVATE_CREATOR = "SAM3 ANGIO PHANTOM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who was examined, when, where and by whom: what must never leave a header.

    Attributes
    ----------
    name, physician, operator : str
        DICOM person names, ``Family^Given``.
    hospital_id, accession, institution, station, remark : str
        Patient's number at the hospital, number of the request, place, machine, free text.
    birth, examined : date
        Of the patient and of the procedure.
    sex : {"F", "M"}
        Of the patient.
    """

    name: str
    hospital_id: str
    birth: date
    sex: str
    examined: date
    accession: str
    institution: str
    station: str
    physician: str
    operator: str
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class XARun:
    """One run as it is stored.

    Attributes
    ----------
    identity : Identity
        Personal part of the header.
    study, run : str
        Names that the unique identifiers are derived from; runs of one study share `study`.
    number : int
        Number of the run in its study, from 1.
    pixels : (F, R, C) ndarray of uint8 or uint16
        Stored values.
    bits : int
        Bits stored.
    view : ViewAngle or None
        None leaves both angles empty.
    collimated : Field or None
        What the collimator's blades leave free; None: no blade is in the picture.
    detector_spacing_mm, sid_mm : float
        Pixel spacing at the detector and source-to-detector distance.
    sod_mm, magnification : float or None
        Source-to-object distance and SID/SOD; None leaves the tag out.
    window : (float, float) or None
        Centre and width; None leaves it out.
    frame_time_ms : float
        Time between frames.
    transfer_syntax : str
        One of :data:`TRANSFER_SYNTAXES`.
    offset_table : bool
        Whether encapsulated frames come with a filled basic offset table.
    """

    identity: Identity
    study: str
    run: str
    number: int
    pixels: Pixels
    bits: int
    view: ViewAngle | None
    collimated: Field | None
    detector_spacing_mm: float
    sid_mm: float
    sod_mm: float | None
    magnification: float | None
    window: tuple[float, float] | None
    frame_time_ms: float
    transfer_syntax: str
    offset_table: bool


def uid(name: str) -> str:
    """Derive a unique identifier from a name: a name-based UUID under ``2.25`` (PS3.5 B.2).

    Examples
    --------
    >>> uid("a")
    '2.25.161150388189299804029837826034989063421'
    """
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, name).int}"


def write_xa(path: Path, run: XARun) -> None:
    """Write a run as a DICOM file.

    Raises
    ------
    ValueError
        If the transfer syntax is none of :data:`TRANSFER_SYNTAXES`.
    """
    dataset = FileDataset(str(path), {}, file_meta=_file_meta(run), preamble=b"\0" * 128)
    for module in _MODULES:
        dataset.update(module(run))
    private = dataset.private_block(0x0029, _PRIVATE_CREATOR, create=True)
    private.add_new(0x01, "LO", run.identity.remark)
    dataset.save_as(path, enforce_file_format=True)


def _file_meta(run: XARun) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
    meta.MediaStorageSOPInstanceUID = uid(f"instance {run.run}")
    meta.TransferSyntaxUID = UID(run.transfer_syntax)
    meta.ImplementationClassUID = uid("implementation")
    meta.ImplementationVersionName = "SAM3_ANGIO_1"
    return meta


def _patient_and_study(run: XARun) -> Dataset:
    person = run.identity
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = person.name
    dataset.PatientID = person.hospital_id
    dataset.PatientBirthDate = _da(person.birth)
    dataset.PatientSex = person.sex
    dataset.PatientAge = f"{(person.examined - person.birth).days // 365:03d}Y"
    dataset.StudyInstanceUID = uid(f"study {run.study}")
    dataset.StudyID = "1"
    dataset.StudyDate = _da(person.examined)
    dataset.StudyTime = "090000"
    dataset.StudyDescription = "Coronary angiography"
    dataset.AccessionNumber = person.accession
    dataset.ReferringPhysicianName = person.physician
    return dataset


def _series_and_equipment(run: XARun) -> Dataset:
    person = run.identity
    dataset = Dataset()
    dataset.Modality = "XA"
    dataset.BodyPartExamined = "HEART"
    dataset.SeriesInstanceUID = uid(f"series {run.run}")
    dataset.SeriesNumber = str(run.number)
    dataset.SeriesDate = _da(person.examined)
    dataset.SeriesTime = _time(run)
    dataset.OperatorsName = person.operator
    dataset.PerformingPhysicianName = person.physician
    dataset.Manufacturer = "sam3-angio"
    dataset.ManufacturerModelName = "Phantom"
    dataset.InstitutionName = person.institution
    dataset.StationName = person.station
    return dataset


def _image(run: XARun) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = XRayAngiographicImageStorage
    dataset.SOPInstanceUID = uid(f"instance {run.run}")
    dataset.InstanceNumber = str(run.number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.ContentDate = dataset.AcquisitionDate = _da(run.identity.examined)
    dataset.ContentTime = dataset.AcquisitionTime = _time(run)
    dataset.PatientOrientation = ""
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.ContrastBolusAgent = "Iodinated contrast"
    dataset.NumberOfFrames = str(len(run.pixels))
    dataset.FrameIncrementPointer = 0x00181063
    dataset.FrameTime = _ds(run.frame_time_ms)
    dataset.RecommendedDisplayFrameRate = str(round(1000 / run.frame_time_ms))
    if run.window is not None:
        dataset.WindowCenter, dataset.WindowWidth = (_ds(value) for value in run.window)
    return dataset


def _acquisition(run: XARun) -> Dataset:
    dataset = Dataset()
    dataset.KVP = "75"
    dataset.RadiationSetting = "GR"
    dataset.RadiationMode = "PULSED"
    dataset.XRayTubeCurrent = "720"
    dataset.ExposureTime = "6"
    dataset.Exposure = "4"
    dataset.AveragePulseWidth = "6"
    dataset.FieldOfViewShape = "RECTANGLE"
    dataset.FieldOfViewDimensions = [
        str(round(size * run.detector_spacing_mm)) for size in run.pixels.shape[:0:-1]
    ]
    dataset.ImagerPixelSpacing = [_ds(run.detector_spacing_mm)] * 2
    dataset.DistanceSourceToDetector = _ds(run.sid_mm)
    if run.sod_mm is not None:
        dataset.DistanceSourceToPatient = _ds(run.sod_mm)
    if run.magnification is not None:
        dataset.EstimatedRadiographicMagnificationFactor = _ds(run.magnification)
    dataset.PositionerMotion = "STATIC"
    dataset.PositionerPrimaryAngle = "" if run.view is None else _ds(run.view.primary_deg)
    dataset.PositionerSecondaryAngle = "" if run.view is None else _ds(run.view.secondary_deg)
    return dataset


def _collimator_and_shutter(run: XARun) -> Dataset:
    """Say where the blades stand and that what they cover is blanked (C.8.7.3, C.7.6.11).

    Edges are counted from 1 and name the first covered column or row; one beyond the picture says
    that the blade is not in it.
    """
    dataset = Dataset()
    if run.collimated is None:
        return dataset
    edges = {
        "LeftVerticalEdge": run.collimated.left_px,
        "RightVerticalEdge": run.collimated.right_px + 1,
        "UpperHorizontalEdge": run.collimated.top_px,
        "LowerHorizontalEdge": run.collimated.bottom_px + 1,
    }
    for kind in ("Collimator", "Shutter"):
        setattr(dataset, f"{kind}Shape", "RECTANGULAR")
        for name, value in edges.items():
            setattr(dataset, f"{kind}{name}", str(value))
    dataset.ShutterPresentationValue = 0
    return dataset


def _pixels(run: XARun) -> Dataset:
    _, rows, columns = run.pixels.shape
    dataset = Dataset()
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = 8 * run.pixels.itemsize
    dataset.BitsStored = run.bits
    dataset.HighBit = run.bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "DISP"
    if run.transfer_syntax == UNCOMPRESSED:
        content = _little_endian(run.pixels)
        dataset.PixelData = content + b"\0" * (len(content) % 2)
        dataset["PixelData"].VR = "OB" if run.pixels.itemsize == 1 else "OW"
        return dataset
    frames = [encode_frame(frame, run.bits, run.transfer_syntax) for frame in run.pixels]
    dataset.PixelData = encapsulate(frames, has_bot=run.offset_table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def encode_frame(frame: Pixels, bits: int, transfer_syntax: str) -> bytes:
    """Compress one frame without loss.

    Parameters
    ----------
    frame : (R, C) ndarray of uint8 or uint16
    bits : int
        Bits stored.
    transfer_syntax : str
        A compressed one of :data:`TRANSFER_SYNTAXES`.

    Raises
    ------
    ValueError
        If the transfer syntax is another.
    """
    if transfer_syntax not in _ENCODERS:
        raise ValueError(f"{transfer_syntax} is no compressed transfer syntax of the phantom.")
    return _ENCODERS[transfer_syntax](frame, bits)


def _encode_jpeg_lossless(frame: Pixels, bits: int) -> bytes:
    # ImageWriter owns the image: it must stay referenced for as long as the image is used.
    writer = gdcm.ImageWriter()
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((frame.shape[1], frame.shape[0], 1))
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ImplicitVRLittleEndian))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 * frame.itemsize, bits, bits - 1, 0))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(_little_endian(frame))
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    if not change.Change():
        raise RuntimeError("GDCM could not write a frame as JPEG Lossless.")
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    text: str = fragments.GetFragment(0).GetByteValue().GetBuffer()
    # GDCM's binding returns bytes as a string with surrogate escapes.
    return text.encode("utf-8", "surrogateescape")


def _encode_jpeg_ls(frame: Pixels, bits: int) -> bytes:
    rows, columns = frame.shape
    return bytes(jpeg_ls.encode_buffer(_little_endian(frame), rows, columns, 1, bits))


def _encode_jpeg_2000(frame: Pixels, bits: int) -> bytes:
    rows, columns = frame.shape
    return bytes(
        encode_jpeg2000(_little_endian(frame), columns, rows, 1, bits, False, use_mct=False)
    )


def _encode_rle(frame: Pixels, bits: int) -> bytes:
    rows, columns = frame.shape
    return bytes(encode_rle(_little_endian(frame), rows, columns, 1, 8 * frame.itemsize, "<"))


_MODULES: tuple[Callable[[XARun], Dataset], ...] = (
    _patient_and_study,
    _series_and_equipment,
    _image,
    _pixels,
    _acquisition,
    _collimator_and_shutter,
)

_ENCODERS: dict[str, Callable[[Pixels, int], bytes]] = {
    JPEG_LOSSLESS: _encode_jpeg_lossless,
    JPEG_LS: _encode_jpeg_ls,
    JPEG_2000: _encode_jpeg_2000,
    RLE: _encode_rle,
}


def _little_endian(pixels: Pixels) -> bytes:
    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()


def _da(day: date) -> str:
    return day.strftime("%Y%m%d")


def _time(run: XARun) -> str:
    """Return the run's time: one a minute from nine o'clock."""
    hour, minute = divmod(run.number, 60)
    return f"{9 + hour:02d}{minute:02d}00"


def _ds(value: float) -> str:
    """Return a decimal string (at most 16 characters)."""
    return f"{value:.6g}"
