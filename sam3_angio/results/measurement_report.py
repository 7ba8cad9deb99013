"""DICOM Structured Report of the measurements, template TID 1500.

Sources: PS3.16 TID 1500, 1410 and 300; PS3.3 A.35.3 (Comprehensive SR); written with highdicom.

Each mask of the segmentation has one group with the model's probability and, where it was
measured, the segment's figures; each measured lesion has one more, which refers to the mask of its
segment. Diameters are "vessel lumen diameter": the smallest with the derivation "Minimum", the
reference with the method "Interpolated Local Reference". The scale's source and the notice are
a parameter of the algorithm. Nobody has verified the report (UNVERIFIED, PARTIAL).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TypeAlias

from highdicom import sr
from highdicom.seg import Segmentation
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from sam3_angio.qca import LesionMeasurement, QcaResult
from sam3_angio.results import coding
from sam3_angio.results.analysis import NOTICE, FrameAnalysis
from sam3_angio.results.segmentation import (
    MANUFACTURER,
    SERIES_NUMBERS,
    mark_identity,
    segment_label,
    segment_masks,
)

Group: TypeAlias = sr.PlanarROIMeasurementsAndQualitativeEvaluations


def measurement_report(
    analysis: FrameAnalysis, header: Dataset, masks: Segmentation
) -> sr.ComprehensiveSR:
    """Return the measurements as a DICOM report that refers to the segmentation.

    Parameters
    ----------
    analysis : FrameAnalysis
    header : Dataset
        From :func:`sam3_angio.results.source.reference_header`.
    masks : Segmentation
        From :func:`sam3_angio.results.segmentation.segmentation`.
    """
    content = sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=coding.ANGIOGRAPHY,
        imaging_measurements=_groups(analysis, header, masks),
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.ComprehensiveSR(
        evidence=[header, masks],
        content=content,
        series_instance_uid=generate_uid(prefix=None),
        series_number=SERIES_NUMBERS[1],
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=version("sam3-angio"),
        series_description=NOTICE,
        is_complete=False,
        is_verified=False,
    )
    mark_identity(report, header)
    return report


def _observer() -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(prefix=None), name=MANUFACTURER, model_name=MANUFACTURER
    )
    context = sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    return sr.ObservationContext(observer_device_context=context)


def _groups(analysis: FrameAnalysis, header: Dataset, masks: Segmentation) -> list[Group]:
    """Return the groups: tree, each segment and its measured lesions, the model's lesions."""
    labels = [label for label, _ in segment_masks(analysis)]
    make = _Groups(analysis, header, masks)
    groups = [make.group(labels[0], 1, coding.CORONARY_ARTERY, [_probability(analysis.tree.score)])]
    for number, found in enumerate(analysis.segments, 2):
        site = coding.segment_code(found.cass)
        values = [_probability(found.score)]
        values += [] if found.qca is None else _segment_values(found.qca)
        groups.append(make.group(labels[number - 1], number, site, values, site))
        for place, lesion in enumerate(() if found.qca is None else found.qca.lesions, 1):
            label = f"{segment_label(found.cass)}, lesion {place}"
            groups.append(make.group(label, number, coding.STENOSIS, _lesion_values(lesion), site))
    for number, outlined in enumerate(analysis.lesions, 2 + len(analysis.segments)):
        where = None if outlined.cass is None else coding.segment_code(outlined.cass)
        values = [_probability(outlined.score)]
        groups.append(make.group(labels[number - 1], number, coding.STENOSIS, values, where))
    return groups


class _Groups:
    """Makes groups that refer to masks of one segmentation and to one frame of the run."""

    def __init__(self, analysis: FrameAnalysis, header: Dataset, masks: Segmentation) -> None:
        self._masks = masks
        self._image = sr.SourceImageForSegmentation(
            header.SOPClassUID, header.SOPInstanceUID, [analysis.frame_index + 1]
        )
        self._algorithm = sr.AlgorithmIdentification(
            name=analysis.model,
            version=version("sam3-angio"),
            parameters=[f"{_scale_text(analysis)}; {NOTICE}"],
        )

    def group(
        self,
        label: str,
        number: int,
        finding: sr.CodedConcept,
        values: list[sr.Measurement],
        site: sr.CodedConcept | None = None,
    ) -> Group:
        """Return the group of one mask or of one lesion in it."""
        reference = sr.ReferencedSegmentationFrame(
            self._masks.SOPClassUID, self._masks.SOPInstanceUID, number, number, self._image
        )
        # By segment alone: PS3.3 C.17.3 allows a frame number or a segment number, not both.
        del reference[0].ReferencedSOPSequence[0].ReferencedFrameNumber
        return Group(
            tracking_identifier=sr.TrackingIdentifier(
                uid=generate_uid(prefix=None), identifier=label
            ),
            referenced_segment=reference,
            finding_type=finding,
            finding_sites=None if site is None else [sr.FindingSite(site)],
            algorithm_id=self._algorithm,
            measurements=values,
        )


def _scale_text(analysis: FrameAnalysis) -> str:
    size = analysis.spacing
    if not analysis.has_scale:
        return "scale: none"
    return f"scale: {size.source}, {size.row_mm:.5f} x {size.column_mm:.5f} mm a pixel"


def _probability(score: float) -> sr.Measurement:
    return _value(coding.PROBABILITY, score, coding.NO_UNIT)


def _segment_values(qca: QcaResult) -> list[sr.Measurement]:
    """Return a segment's length, and the figures of its most severe place."""
    place = _stenosis_values(qca)
    return [*place, _value(coding.SEGMENT_LENGTH, qca.segment_length_mm, coding.MILLIMETRE)]


def _lesion_values(lesion: LesionMeasurement) -> list[sr.Measurement]:
    length = _value(coding.LESION_LENGTH, lesion.length_mm, coding.MILLIMETRE)
    return [*_stenosis_values(lesion), length]


def _stenosis_values(place: QcaResult | LesionMeasurement) -> list[sr.Measurement]:
    diameter, unit = coding.LUMEN_DIAMETER, coding.MILLIMETRE
    reference = coding.INTERPOLATED_REFERENCE
    return [
        sr.Measurement(diameter, _decimal(place.mld_mm), unit, derivation=coding.MINIMUM),
        sr.Measurement(diameter, _decimal(place.rvd_mm), unit, method=reference),
        _value(coding.DIAMETER_STENOSIS, place.diameter_stenosis_pct, coding.PERCENT),
        _value(coding.AREA_STENOSIS, place.area_stenosis_pct, coding.PERCENT),
    ]


def _value(name: sr.CodedConcept, value: float, unit: sr.CodedConcept) -> sr.Measurement:
    return sr.Measurement(name, _decimal(value), unit)


def _decimal(value: float) -> float:
    """Round to what a decimal string of 16 characters holds with room: a tenth of a micrometre."""
    return round(float(value), 4)
