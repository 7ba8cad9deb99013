"""XA runs for the tests: small pictures, every transfer syntax, and ways to break them."""

from __future__ import annotations

import io
import struct

import jpeg_ls
import numpy as np
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    XRayAngiographicImageStorage,
)
from rle.rle import encode_frame as encode_rle

NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
LOSSLESS = (*NATIVE, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
LOSSY = (JPEGLSNearLossless, JPEG2000)


def pictures(frames=6, rows=96, columns=128, bits=8, seed=0):
    """Return a run (frames, rows, columns) with a background, moving dark lines, and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns] / 100
    background = 0.6 + 0.25 * np.sin(3 * x + 1) * np.cos(4 * y)
    run = []
    for k in range(frames):
        lines = sum(
            np.exp(-(((y - 0.3 * j - 0.1 * np.sin(6 * x + 0.1 * k + j)) / 0.02) ** 2))
            for j in range(4)
        )
        run.append(background - 0.3 * lines + random.normal(0, 0.02, background.shape))
    top = (1 << bits) - 1
    dtype = np.uint8 if bits <= 8 else np.uint16
    return np.clip(np.array(run) * top, 1, top - 1).astype(dtype)


def xa_dataset(pixels, bits, syntax=ExplicitVRLittleEndian, **changes):
    """Return a run as a pydicom data set; `changes` replace elements, None deletes one."""
    dataset = Dataset()
    dataset.SOPClassUID = XRayAngiographicImageStorage
    dataset.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset.Modality = "XA"
    dataset.PatientName = "Planted^Name"
    dataset.PatientID = "PLANTED-0815"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LIN"
    if syntax in NATIVE:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    else:
        codes = [encode(frame, bits, syntax) for frame in pixels]
        dataset.PixelData = encapsulate(codes)
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 or syntax not in NATIVE else "OW"
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def xa_bytes(dataset):
    """Return a data set as the bytes of a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_run(path, pixels, bits, syntax=ExplicitVRLittleEndian, **changes):
    """Write a run; return its path."""
    path.write_bytes(xa_bytes(xa_dataset(pixels, bits, syntax, **changes)))
    return path


def with_codes(dataset, codes, *, has_table=True, fragments_per_frame=1):
    """Replace the encapsulated frames of a data set."""
    dataset.PixelData = encapsulate(codes, fragments_per_frame, has_table)
    dataset["PixelData"].VR = "OB"
    return dataset


def with_extended_table(dataset, codes):
    """Replace the frames and describe them in an extended offset table."""
    value, offsets, lengths = encapsulate_extended(codes)
    dataset.PixelData = value
    dataset["PixelData"].VR = "OB"
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    return dataset


def encode(frame, bits, syntax, predictor=1):
    """Compress one frame."""
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return encode_jpeg_lossless(frame, bits, predictor)
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):
        lossy_error = 2 if syntax == JPEGLSNearLossless else 0
        return even(bytes(jpeg_ls.encode_buffer(frame.tobytes(), *frame.shape, 1, bits,
                                                lossy_error=lossy_error)))  # fmt: skip
    if syntax == RLELossless:
        return bytes(encode_rle(frame.tobytes(), *frame.shape, 1, 8 * frame.itemsize, "<"))
    ratios = [4] if syntax == JPEG2000 else None
    return even(bytes(encode_array(frame, bits_stored=bits, compression_ratios=ratios)))


def even(code):
    """Pad with a zero to an even length."""
    return code + b"\0" * (len(code) % 2)


def encode_jpeg_lossless(frame, precision, predictor=1, restart_rows=0):
    """Encode by ITU-T T.81 annex H, with a Huffman table of eight-bit codes for all categories."""
    rows, columns = frame.shape
    samples = frame.astype(np.int64)
    step = restart_rows or rows
    intervals = [
        _entropy(_differences(samples[start : start + step], precision, predictor))
        for start in range(0, rows, step)
    ]
    data = b"".join(
        interval + (bytes([0xFF, 0xD0 + k % 8]) if k < len(intervals) - 1 else b"")
        for k, interval in enumerate(intervals)
    )
    counts = bytes([0] * 7 + [17] + [0] * 8)
    headers = [
        (0xC3, struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0)),
        (0xC4, b"\0" + counts + bytes(range(17))),
        *([(0xDD, struct.pack(">H", restart_rows * columns))] if restart_rows else []),
        (0xDA, bytes([1, 1, 0, predictor, 0, 0])),
    ]
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in headers
    )
    return even(b"\xff\xd8" + segments + data + b"\xff\xd9")


def _differences(samples, precision, predictor):
    left, above = np.roll(samples, 1, axis=1), np.roll(samples, 1, axis=0)
    corner = np.roll(above, 1, axis=1)
    prediction = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor].copy()
    prediction[:, 0] = above[:, 0]
    prediction[0] = left[0]
    prediction[0, 0] = 1 << (precision - 1)
    return (samples - prediction + 32768) % 65536 - 32768


def _entropy(differences):
    bits = []
    for difference in differences.ravel().tolist():
        category = abs(difference).bit_length()
        bits.append(f"{category:08b}")
        if 0 < category < 16:
            remainder = difference if difference > 0 else difference + (1 << category) - 1
            bits.append(f"{remainder:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
