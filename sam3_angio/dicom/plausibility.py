"""Whether a decoded picture can be the frame."""

from __future__ import annotations

from sam3_angio.dicom import codestream
from sam3_angio.dicom.decode import Pixels
from sam3_angio.dicom.header import RunHeader


def require_plausible(pixels: Pixels, code: bytes, header: RunHeader) -> None:
    """Refuse a picture that cannot be the frame that was stored.

    Raises
    ------
    UnreadableError
        If lossless JPEG took another number of bits than the frame has.
    """
    if header.transfer_syntax in (codestream.JPEG_LOSSLESS, codestream.JPEG_LOSSLESS_SV1):
        codestream.require_all_bits_used(pixels, code)
