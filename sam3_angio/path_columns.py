"""Columns of the site's table that name files; a finding about a file stands in its column."""

from typing import Final

DICOM: Final = "dicom_path"
PSEUDO_LABEL: Final = "deepsa_pseudo_label_path"
CONTOUR: Final = "medis_contour_path"
MASK: Final = "medis_mask_path"
