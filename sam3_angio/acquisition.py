"""How a frame was acquired: view angle, pixel spacing, identity.

Conventions
-----------
Angles have DICOM's signs (PS3.3 C.8.7.5.1.2): primary positive towards LAO, secondary positive
cranial, in degrees. Arrays are ``[row, column]``; points are ``[x, y]`` in pixels with (0, 0) the
centre of the first pixel. Spacing is millimetres a pixel **at the object**.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SpacingSource = Literal["calibration", "sod_sid", "magnification", "detector", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewAngle:
    """Positioner angles of one frame.

    Attributes
    ----------
    primary_deg : float
        LAO positive, RAO negative, within ±180.
    secondary_deg : float
        Cranial positive, caudal negative, within ±90.
    """

    primary_deg: float
    secondary_deg: float

    def __str__(self) -> str:
        """Return the view as a cardiologist writes it.

        Examples
        --------
        >>> str(ViewAngle(primary_deg=-29.8, secondary_deg=20.4))
        'RAO 30 CRA 20'
        """
        return (
            " ".join(
                part
                for part in (
                    _side(self.primary_deg, "LAO", "RAO"),
                    _side(self.secondary_deg, "CRA", "CAU"),
                )
                if part
            )
            or "AP"
        )

    @property
    def name(self) -> str:
        """Return the view's quadrant, such as ``RAO cranial``; ``AP`` within 10° of the middle."""
        side = "AP" if abs(self.primary_deg) < 10 else "LAO" if self.primary_deg > 0 else "RAO"
        if abs(self.secondary_deg) < 10:
            return side
        return f"{side} {'cranial' if self.secondary_deg > 0 else 'caudal'}"


def _side(value_deg: float, positive: str, negative: str) -> str:
    rounded = round(value_deg)
    return f"{positive if rounded > 0 else negative} {abs(rounded)}" if rounded else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSpacing:
    """Size of a pixel at the object.

    Attributes
    ----------
    row_mm, column_mm : float
        Distance between rows and between columns; NaN when unknown.
    source : str
        ``calibration`` (catheter), ``sod_sid`` (detector spacing × SOD/SID), ``magnification``
        (detector spacing / estimated factor), ``detector`` (not corrected), ``none``.
    """

    row_mm: float
    column_mm: float
    source: SpacingSource
