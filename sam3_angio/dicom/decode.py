"""One pinned decoder for each transfer syntax, and no fallback.

Where one decoder fails, another may invent the rest of the picture, and which of them answers
depends on what is installed. So there is one each: GDCM for lossless JPEG, CharLS (``pyjpegls``)
for JPEG-LS, OpenJPEG (``pylibjpeg-openjpeg``) for JPEG 2000, ``pylibjpeg-rle`` for RLE, NumPy for
uncompressed pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sam3_angio.dicom import codestream
from sam3_angio.dicom.header import RunHeader
from sam3_angio.dicom.quiet import without_messages_of_libjpeg
from sam3_angio.dicom.structure import RLE
from sam3_angio.dicom.tags import BIG_ENDIAN, DEFLATED, IMPLICIT, UnreadableError

EXPLICIT = "1.2.840.10008.1.2.1"

Pixels = NDArray[np.uint8 | np.uint16]
#: A frame's bytes, little endian.
Stored = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How the frames of a transfer syntax are read.

    Attributes
    ----------
    name : str
        For people.
    encapsulated : bool
        Whether frames are items.
    check : callable
        Compares a codestream with the header before decoding.
    decode : callable
        Makes the frame's bytes, little endian, of a codestream.
    """

    name: str
    encapsulated: bool
    check: Callable[[bytes, RunHeader], None]
    decode: Callable[[bytes, RunHeader], Stored]


def codec(transfer_syntax: str) -> Codec:
    """Return the codec of a transfer syntax.

    Raises
    ------
    UnreadableError
        If the syntax is not supported.
    """
    if transfer_syntax not in CODECS:
        names = ", ".join(sorted({known.name for known in CODECS.values()}))
        message = f"{transfer_syntax} is not supported; these are: {names}."
        raise UnreadableError("TransferSyntaxUID (0002,0010)", message, "Convert it with dcmconv.")
    return CODECS[transfer_syntax]


def decode(code: bytes, header: RunHeader) -> Pixels:
    """Decode one frame that has passed the checks.

    Parameters
    ----------
    code : bytes
        The frame as stored.
    header : RunHeader
        Of its run.

    Returns
    -------
    (R, C) ndarray of uint8 or uint16
        Stored values.

    Raises
    ------
    UnreadableError
        If the decoder fails, or what it makes has another size or larger values than the header
        says.
    """
    known = codec(header.transfer_syntax)
    known.check(code, header)
    content = known.decode(code, header)
    found = memoryview(content).nbytes
    if found != header.frame_bytes:
        message = f"the decoded frame has {found} bytes, expected {header.frame_bytes}."
        raise UnreadableError("PixelData (7FE0,0010)", message, "The frame is damaged.")
    pixels: Pixels = stored_pixels(content, header).reshape(header.rows, header.columns)
    if header.bits_stored < header.bits_allocated and int(pixels.max()) >> header.bits_stored:
        message = f"values need more than the {header.bits_stored} bits that BitsStored says."
        raise UnreadableError("BitsStored (0028,0101)", message, "The header is wrong.")
    return pixels


def stored_pixels(content: Stored, header: RunHeader) -> Pixels:
    """Return the stored values of some decoded bytes, in the machine's byte order; ``(N,)``."""
    byte_order: Literal["<", ">"] = ">" if header.transfer_syntax == BIG_ENDIAN else "<"
    stored = np.frombuffer(content, header.dtype.newbyteorder(byte_order))
    return stored.astype(header.dtype, copy=False)


def _failed(decoder: str) -> UnreadableError:
    message = f"the frame cannot be decoded ({decoder})."
    return UnreadableError("PixelData (7FE0,0010)", message, "It is damaged; export it again.")


def _jpeg_lossless(code: bytes, header: RunHeader) -> bytes:
    import gdcm  # costs time that runs in other syntaxes need not pay

    precision = codestream.jpeg_frame(code).precision
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(code)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    syntax = gdcm.TransferSyntax.GetTSType(header.transfer_syntax)
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = header.bits_allocated, precision, precision - 1
    image.SetPixelFormat(gdcm.PixelFormat(1, *bits, 0))
    try:
        with without_messages_of_libjpeg():
            buffer = image.GetBuffer()
        return str(buffer).encode("utf-8", "surrogateescape")
    except (RuntimeError, SystemError, ValueError):
        raise _failed("GDCM") from None


def _jpeg_ls(code: bytes, header: RunHeader) -> bytearray:
    import jpeg_ls

    try:
        return bytearray(jpeg_ls.decode_from_buffer(code))
    except (RuntimeError, ValueError):
        raise _failed("CharLS") from None


def _jpeg_2000(code: bytes, header: RunHeader) -> memoryview:
    import openjpeg

    try:
        pixels = openjpeg.decode(io.BytesIO(code), reshape=True)
    except (RuntimeError, ValueError, NotImplementedError):
        raise _failed("OpenJPEG") from None
    return np.ascontiguousarray(pixels, header.dtype.newbyteorder("<")).data


def _rle(code: bytes, header: RunHeader) -> memoryview:
    """Decode segment by segment: the decoder's own loop over them aborts on damaged lengths."""
    from rle import rle

    size = header.rows * header.columns
    planes = []
    for segment in codestream.rle_segments(code, header):
        try:
            plane = rle.decode_segment(segment)
        except (RuntimeError, ValueError):
            raise _failed("pylibjpeg-rle") from None
        if len(plane) != size:
            raise _failed("pylibjpeg-rle")
        planes.append(np.frombuffer(plane, np.uint8))
    if len(planes) == 1:
        return planes[0].data
    return np.stack(planes[::-1], axis=1).data  # the high byte comes first (PS3.5 G.2)


def _native(code: bytes, header: RunHeader) -> bytes:
    return code


def _no_codestream(code: bytes, header: RunHeader) -> None:
    """Uncompressed pixels say nothing of themselves; sizes were compared when they were found."""


def _encapsulated(
    name: str,
    check: Callable[[bytes, RunHeader], None],
    decoder: Callable[[bytes, RunHeader], Stored],
) -> Codec:
    return Codec(name=name, encapsulated=True, check=check, decode=decoder)


def _uncompressed(name: str) -> Codec:
    return Codec(name=name, encapsulated=False, check=_no_codestream, decode=_native)


#: Syntaxes whose frames do not carry their own size.
WITHOUT_SIZE = frozenset({IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, RLE})

CODECS: Mapping[str, Codec] = {
    IMPLICIT: _uncompressed("uncompressed"),
    EXPLICIT: _uncompressed("uncompressed"),
    BIG_ENDIAN: _uncompressed("uncompressed"),
    DEFLATED: _uncompressed("deflated"),
    codestream.JPEG_LOSSLESS: _encapsulated(
        "JPEG Lossless", codestream.check_jpeg_lossless, _jpeg_lossless
    ),
    codestream.JPEG_LOSSLESS_SV1: _encapsulated(
        "JPEG Lossless", codestream.check_jpeg_lossless, _jpeg_lossless
    ),
    codestream.JPEG_LS: _encapsulated("JPEG-LS", codestream.check_jpeg_ls, _jpeg_ls),
    codestream.JPEG_LS_NEAR: _encapsulated("JPEG-LS", codestream.check_jpeg_ls, _jpeg_ls),
    codestream.JPEG_2000_LOSSLESS: _encapsulated(
        "JPEG 2000", codestream.check_jpeg_2000, _jpeg_2000
    ),
    codestream.JPEG_2000: _encapsulated("JPEG 2000", codestream.check_jpeg_2000, _jpeg_2000),
    RLE: _encapsulated("RLE", codestream.check_rle, _rle),
}
