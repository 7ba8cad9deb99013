"""Quantitative coronary analysis: diameters and stenoses from a mask or from two borders.

Two steps: a :class:`DiameterProfile` out of a predicted mask (:func:`profile_from_mask`) or an
expert's contour (:func:`profile_from_edges`), and :func:`measure` for MLD, reference diameter,
%DS and lesion length. Definitions: DICOM PS3.17 Annex T, see :mod:`sam3_angio.qca.stenosis`.
"""

from sam3_angio.qca.edges import profile_from_edges, reference_from_edges
from sam3_angio.qca.mask import profile_from_mask
from sam3_angio.qca.profile import DiameterProfile
from sam3_angio.qca.stenosis import LesionMeasurement, QcaResult, measure, reference_line

__all__ = [
    "DiameterProfile",
    "LesionMeasurement",
    "QcaResult",
    "measure",
    "profile_from_edges",
    "profile_from_mask",
    "reference_from_edges",
    "reference_line",
]
