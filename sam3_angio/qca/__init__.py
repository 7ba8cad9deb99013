"""Quantitative coronary analysis: diameters and stenoses from a mask or from two borders.

Two steps: a :class:`DiameterProfile`, and :func:`measure` for MLD, reference diameter, %DS and
lesion length. The profile comes out of a fine mask (:func:`profile_from_mask`), an expert's
contour (:func:`profile_from_edges`), or the frame's own pixels where a coarse mask, such as a
predicted one, says which vessel is meant (:func:`profile_from_frame`). Definitions: DICOM PS3.17
Annex T, see :mod:`sam3_angio.qca.stenosis`.
"""

from sam3_angio.qca.edges import profile_from_edges, reference_from_edges
from sam3_angio.qca.frame import profile_from_frame
from sam3_angio.qca.mask import profile_from_mask
from sam3_angio.qca.profile import DiameterProfile
from sam3_angio.qca.stenosis import LesionMeasurement, QcaResult, measure, reference_line

__all__ = [
    "DiameterProfile",
    "LesionMeasurement",
    "QcaResult",
    "measure",
    "profile_from_edges",
    "profile_from_frame",
    "profile_from_mask",
    "reference_from_edges",
    "reference_line",
]
