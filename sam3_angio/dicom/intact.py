"""Whether a decoded picture accounts for every byte of its lossless frame.

Decoders go on after damage: sixteen zeroed bytes inside a lossless JPEG frame give half a picture
of nonsense without a word. But a lossless code is unique. In JPEG each sample has one code, so the
picture tells how many bits it took, and a damaged frame has another number of them. In JPEG 2000 a
picture that was read from damaged bytes is written to other bytes.

In JPEG-LS nothing like that is possible: whatever bits can be decoded to the end are those that
the decoded picture is encoded to, damaged or not. The code's context carries damage to the end of
the frame, where CharLS finds it, unless the end is near: a bit that is flipped in the last two
rows or so of what is not blank changes the rest of them by little, and passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sam3_angio.dicom.codestream import (
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JpegFrame,
    damaged,
    jpeg_frame,
)
from sam3_angio.dicom.decode import Pixels
from sam3_angio.dicom.header import RunHeader

#: A frame as stored, and its picture.
CodedFrame = tuple[bytes, Pixels]

_COMMENT = re.compile(rb"\xff\x64..\x00\x01Created by OpenJPEG version [0-9.]+", re.DOTALL)


def require_intact(
    code: bytes,
    pixels: Pixels,
    header: RunHeader,
    neighbours: Callable[[], Sequence[CodedFrame]],
) -> None:
    """Refuse a lossless frame that was decoded to something else than was encoded.

    Parameters
    ----------
    code : bytes
        The frame as stored.
    pixels : (R, C) ndarray of uint8 or uint16
        Its picture.
    header : RunHeader
        Of its run.
    neighbours : callable
        Gives frames of the same run; called only where the encoder is in doubt.

    Raises
    ------
    UnreadableError
        If the picture does not account for the frame's bytes.
    """
    if header.transfer_syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        _require_all_bits_used(pixels, code)
    elif header.transfer_syntax in (JPEG_2000_LOSSLESS, JPEG_2000):
        _require_same_code(code, pixels, header, neighbours)


def _require_same_code(
    code: bytes,
    pixels: Pixels,
    header: RunHeader,
    neighbours: Callable[[], Sequence[CodedFrame]],
) -> None:
    """Encode a JPEG 2000 picture again and compare, where the encoder is known.

    It is known if the coding parameters are the encoder's own, and a neighbour is written to the
    very bytes that it was read from (or, in a run of one frame, if its comment says so). Frames of
    other encoders and frames coded with loss cannot be checked in this way.
    """
    if _coding(code) != _own_coding(pixels.dtype.str, header.bits_stored):
        return
    again = _encoded(pixels, header.bits_stored)
    if _main_header(again) != _main_header(code) or _tiles(again) == _tiles(code):
        return
    others = neighbours()
    known = any(_tiles(_encoded(other, header.bits_stored)) == _tiles(its) for its, other in others)
    if known or (not others and _COMMENT.search(code[:512])):
        raise damaged("the picture is not the one that was encoded; bytes inside have changed.")


def _encoded(pixels: Pixels, bits_stored: int) -> bytes:
    from openjpeg.utils import encode_array  # costs time that other syntaxes need not pay

    return bytes(encode_array(pixels, bits_stored=bits_stored, codec_format=0))


@lru_cache(maxsize=8)
def _own_coding(dtype: str, bits_stored: int) -> bytes:
    """Return the coding parameters of the encoder at hand, from a small picture."""
    return _coding(_encoded(np.zeros((64, 64), dtype), bits_stored))


def _coding(code: bytes) -> bytes:
    """Return the main header without its comment and without the picture's and the tiles' sizes."""
    header = _main_header(code)
    start = header.find(b"\xff\x51")
    length = int.from_bytes(header[start + 2 : start + 4], "big")
    return header[: max(start, 0)] + header[start + 2 + length :]


def _main_header(code: bytes) -> bytes:
    """Return the main header without its comment."""
    return _COMMENT.sub(b"", code[: code.find(b"\xff\x90\x00\x0a")])


def _tiles(code: bytes) -> bytes:
    return code[code.find(b"\xff\x90\x00\x0a") :].rstrip(b"\0")


def _require_all_bits_used(pixels: Pixels, code: bytes) -> None:
    """Refuse a lossless JPEG frame whose picture took more or fewer bits than the frame has."""
    frame = jpeg_frame(code)
    bits = _row_bits(pixels, frame)
    step = frame.restart_rows or len(bits)
    for start, interval in zip(range(0, len(bits), step), frame.intervals, strict=True):
        taken = int(bits[start : start + step].sum())
        if not _is_filled(interval, taken):
            message = f"the picture takes {taken} bits, the frame has {8 * len(interval)} or less."
            raise damaged(f"{message} Part of it was decoded to something else.")


def _is_filled(interval: bytes, taken: int) -> bool:
    """Whether codes of `taken` bits fill the bytes, but for a byte's rest of ones (or zeros).

    One more byte of zeros is let pass, as some encoders write it to make the length even.
    """
    spare = 8 * (len(interval) - interval.count(b"\xff\0")) - taken
    last = interval[-2:] if interval.endswith(b"\xff\0") else interval[-1:]
    if 8 <= spare < 16 and last == b"\0":
        return _is_filled(interval[:-1], taken)
    return 0 <= spare < 8 and (last or b"\0")[0] & ((1 << spare) - 1) in (0, (1 << spare) - 1)


def _row_bits(pixels: Pixels, frame: JpegFrame) -> NDArray[np.int64]:
    """Return the number of bits that each row's differences take (T.81 H.1.2)."""
    samples = pixels.astype(np.uint16, copy=False)
    differences = samples - _prediction(samples, frame)
    bits = _bits_of_difference(tuple(sorted(frame.code_lengths.items())))
    row_bits: NDArray[np.int64] = np.take(bits, differences).sum(axis=1, dtype=np.int64)
    return row_bits


def _prediction(samples: NDArray[np.uint16], frame: JpegFrame) -> NDArray[np.uint16]:
    """Predict each sample from those before it, modulo 2¹⁶ (T.81 table H.1)."""
    prediction = np.empty_like(samples)
    prediction[:, 1:] = samples[:, :-1]
    prediction[1:, 0] = samples[:-1, 0]
    predictor = frame.parameters[0]
    if predictor != 1:
        left, above = samples[1:, :-1].astype(np.int32), samples[:-1, 1:].astype(np.int32)
        corner = samples[:-1, :-1].astype(np.int32)
        prediction[1:, 1:] = _PREDICTORS[predictor](left, above, corner).astype(np.uint16)
    for row in range(0, len(samples), frame.restart_rows or len(samples)):
        prediction[row, 1:] = samples[row, :-1]
        prediction[row, 0] = 1 << (frame.precision - 1)
    return prediction


_Plane = NDArray[np.int32]
_PREDICTORS: Mapping[int, Callable[[_Plane, _Plane, _Plane], _Plane]] = {
    2: lambda left, above, corner: above,
    3: lambda left, above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + ((above - corner) >> 1),
    6: lambda left, above, corner: above + ((left - corner) >> 1),
    7: lambda left, above, corner: (left + above) >> 1,
}


@lru_cache(maxsize=8)
def _bits_of_difference(code_lengths: tuple[tuple[int, int], ...]) -> NDArray[np.uint8]:
    """Return the bits that each difference modulo 2¹⁶ takes: its code and its remainder."""
    magnitude = np.abs(np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32))
    category = np.ceil(np.log2(magnitude + 1)).astype(np.int64)
    lengths = np.full(17, 200, dtype=np.int64)  # a code that is not there can take no bits
    for symbol, length in code_lengths:
        lengths[symbol] = length
    remainder = np.where(np.arange(17) < 16, np.arange(17), 0)
    bits: NDArray[np.uint8] = (lengths + remainder)[category].astype(np.uint8)
    return bits
