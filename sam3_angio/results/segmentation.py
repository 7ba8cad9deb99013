r"""DICOM Segmentation of an analysed frame.

Sources: PS3.3 A.51 (Segmentation IOD), C.8.20; written with highdicom.

An angiographic run has no frame of reference, which a segmentation of a multi-frame source needs
for most readers. Two ways:

``nominal``
    A new frame of reference with the frame as its one plane: orientation 1\\0\\0\\0\\1\\0, position
    0\\0\\0, spacing that at the object. The plane says nothing of where it lies in the patient, and
    the series description says that. Viewers and converters read it.
``strict``
    No frame of reference at all, as in the source. It is valid, and few programs read it.

In both, the frame is referred to by instance and frame number. Segment 1 is the vessel tree,
then come the named segments and the model's lesions; each has one frame of the same number.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from sam3_angio.anatomy import segments
from sam3_angio.results import coding
from sam3_angio.results.analysis import NOTICE, BoolArray, FrameAnalysis

Geometry = Literal["nominal", "strict"]

MANUFACTURER = "sam3-angio"
SERIES_NUMBERS = (9001, 9002)
"""Of segmentation and report: out of the way of an examination's own."""


def segment_masks(analysis: FrameAnalysis) -> list[tuple[str, BoolArray]]:
    """Return label and mask of every segment of the object, in its order.

    Examples
    --------
    The labels are "coronary tree", then such as "CASS 12 Proximal LAD", then "stenosis 1".
    """
    return [
        ("coronary tree", analysis.tree.mask),
        *((segment_label(found.cass), found.mask) for found in analysis.segments),
        *((f"stenosis {place}", found.mask) for place, found in enumerate(analysis.lesions, 1)),
    ]


def segment_label(cass: int) -> str:
    """Return a segment's label, which carries its number and scheme.

    Examples
    --------
    >>> segment_label(12)
    'CASS 12 Proximal LAD'
    """
    return f"CASS {cass} {segments()[cass].name}"


def segmentation(
    analysis: FrameAnalysis, header: Dataset, geometry: Geometry = "nominal"
) -> Segmentation:
    """Return the masks as a DICOM Segmentation.

    Parameters
    ----------
    analysis : FrameAnalysis
    header : Dataset
        From :func:`sam3_angio.results.source.reference_header`.
    geometry : {"nominal", "strict"}
        See the module.
    """
    masks = np.stack([mask for _, mask in segment_masks(analysis)], axis=-1)
    found = Segmentation(
        source_images=[_one_frame(analysis, header, geometry)],
        pixel_array=masks[None].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(analysis),
        series_instance_uid=generate_uid(prefix=None),
        series_number=SERIES_NUMBERS[0],
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=version("sam3-angio"),
        device_serial_number="none",
        content_label="CORONARIES",
        content_description=NOTICE,
        series_description=_series_description(analysis, geometry),
        omit_empty_frames=False,
    )
    if geometry == "strict":
        found.PatientOrientation = ""  # type 2C where no plane orientation is given (C.7.6.1)
    _refer_to_frame(found, analysis.frame_index + 1)
    mark_identity(found, header)
    return found


def _one_frame(analysis: FrameAnalysis, header: Dataset, geometry: Geometry) -> Dataset:
    """Return the header as if the run had the one frame, which is what highdicom accepts."""
    single = Dataset()
    single.update(header)
    single.NumberOfFrames = 1
    shared, own = _nominal_plane(analysis)
    single.SharedFunctionalGroupsSequence = [shared]
    if geometry == "nominal":
        single.FrameOfReferenceUID = generate_uid(prefix=None)
        single.PositionReferenceIndicator = ""
        single.ImagePositionPatient = [0, 0, 0]
        single.PerFrameFunctionalGroupsSequence = [own]
    return single


def _nominal_plane(analysis: FrameAnalysis) -> tuple[Dataset, Dataset]:
    """Return the plane that stands for the frame; without a scale a pixel counts as 1 mm."""
    size = analysis.spacing
    spacing_mm = (size.row_mm, size.column_mm) if analysis.has_scale else (1.0, 1.0)
    shared, own = Dataset(), Dataset()
    shared.PixelMeasuresSequence = hd.PixelMeasuresSequence(spacing_mm, slice_thickness=1.0)
    shared.PlaneOrientationSequence = hd.PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, 1, 0])
    own.PlanePositionSequence = hd.PlanePositionSequence("PATIENT", [0, 0, 0])
    return shared, own


def _series_description(analysis: FrameAnalysis, geometry: Geometry) -> str:
    """Return what the object is, within the 64 characters of the element."""
    if geometry == "strict":
        return "Research use only; no geometry"
    scale = "" if analysis.has_scale else ", scale unknown"
    return f"Research use only; nominal plane{scale}"


def _descriptions(analysis: FrameAnalysis) -> list[SegmentDescription]:
    kinds = [
        (coding.ANATOMY, coding.CORONARY_ARTERY, None),
        *((coding.ANATOMY, coding.segment_code(found.cass), None) for found in analysis.segments),
        *((coding.ABNORMALITY, coding.STENOSIS, found.cass) for found in analysis.lesions),
    ]
    identification = hd.AlgorithmIdentificationSequence(
        name=analysis.model, family=coding.ALGORITHM_FAMILY, version=version("sam3-angio")
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=identification,
            tracking_uid=generate_uid(prefix=None),
            tracking_id=label,
            anatomic_regions=None if cass is None else [coding.segment_code(cass)],
        )
        for number, ((label, _), (category, kind, cass)) in enumerate(
            zip(segment_masks(analysis), kinds, strict=True), 1
        )
    ]


def _refer_to_frame(found: Segmentation, frame_number: int) -> None:
    """Say which frame of the run each segment was derived from (PS3.3 10.3)."""
    for group in (
        *found.get("SharedFunctionalGroupsSequence", ()),
        *found.PerFrameFunctionalGroupsSequence,
    ):
        for derivation in group.get("DerivationImageSequence", ()):
            for image in derivation.SourceImageSequence:
                image.ReferencedFrameNumber = frame_number


def mark_identity(written: Dataset, header: Dataset) -> None:
    """Repeat in an object that the identity was removed; highdicom copies other elements only."""
    for keyword in ("PatientIdentityRemoved", "DeidentificationMethod"):
        if keyword in header:
            written[keyword] = header[keyword]
