"""Malformed runs by name: each is a function that makes the bytes of a file from a good one.

To add one, write a function with ``@malformed`` (any transfer syntax that it is given) or an entry
of ``HEADERS``. ``WANTED`` is the frame that the tests then ask for.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from xa_files import (
    NATIVE,
    encode,
    even,
    pictures,
    with_codes,
    with_extended_table,
    xa_bytes,
    xa_dataset,
)

WANTED = 2
CODECS = {
    "jpeg": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless,
    "jpeg_2000": JPEG2000Lossless,
    "rle": RLELossless,
}

#: Name to function without arguments.
CASES = {}


@cache
def run():
    """Return the pixels of the good run."""
    return pictures(bits=12)


@cache
def codes(syntax):
    """Return the good run's frames, compressed."""
    return tuple(encode(frame, 12, syntax) for frame in run())


def good(syntax=ExplicitVRLittleEndian, **changes):
    """Return the good run's data set, with some elements changed."""
    if syntax in NATIVE:
        return xa_dataset(run(), 12, syntax, **changes)
    native = xa_dataset(run(), 12, ExplicitVRLittleEndian, **changes)
    native.file_meta.TransferSyntaxUID = syntax
    return with_codes(native, codes(syntax))


def malformed(function):
    """Register a case for every codec."""
    for name, syntax in CODECS.items():
        CASES[f"{function.__name__}-{name}"] = lambda syntax=syntax: function(syntax)
    return function


def malformed_file(function):
    """Register a case that is made once."""
    CASES[function.__name__] = function
    return function


def _table(data):
    """Return where the basic offset table's entries are in a file, and the entries."""
    start = data.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0") + 20
    count = len(run())
    return start, list(struct.unpack_from(f"<{count}I", data, start))


def _with_table(syntax, change):
    data = bytearray(xa_bytes(good(syntax)))
    start, entries = _table(data)
    struct.pack_into(f"<{len(entries)}I", data, start, *change(entries))
    return bytes(data)


def _with_frames(syntax, frames, *, has_table=False, **changes):
    return xa_bytes(with_codes(good(syntax, **changes), list(frames), has_table=has_table))


def _with_frame(syntax, code):
    frames = list(codes(syntax))
    frames[WANTED] = even(bytes(code))
    return _with_frames(syntax, frames, has_table=True)


# --- offset tables, items, number of frames ---------------------------------------------------


@malformed
def table_shifted_by_one(syntax):
    return _with_table(syntax, lambda entries: [*entries[1:], entries[-1]])


@malformed
def table_shifted_back(syntax):
    return _with_table(syntax, lambda entries: [entries[0], *entries[:-1]])


@malformed
def table_reversed(syntax):
    return _with_table(syntax, lambda entries: entries[::-1])


@malformed
def table_two_bytes_off(syntax):
    return _with_table(syntax, lambda entries: [entry + 2 for entry in entries])


@malformed
def table_of_zeros(syntax):
    return _with_table(syntax, lambda entries: [0] * len(entries))


@malformed
def table_beyond_the_file(syntax):
    return _with_table(syntax, lambda entries: [0xFFFFFF00] * len(entries))


@malformed
def table_with_two_entries_swapped(syntax):
    return _with_table(syntax, lambda e: [e[0], e[1], e[3], e[2], *e[4:]])


@malformed
def frame_missing(syntax):
    return _with_frames(syntax, codes(syntax)[1:])


@malformed
def frame_missing_under_its_table(syntax):
    return _with_frames(syntax, codes(syntax)[1:], has_table=True)


@malformed
def frame_doubled(syntax):
    return _with_frames(syntax, (codes(syntax)[0], *codes(syntax)))


@malformed
def frame_doubled_and_another_missing(syntax):
    return _with_frames(syntax, (codes(syntax)[0], *codes(syntax)[:-1]))


def _with_copy(syntax, place, of):
    frames = list(codes(syntax))
    frames[place] = frames[of]
    return _with_frames(syntax, frames, has_table=True)


@malformed
def wanted_frame_replaced_by_the_next(syntax):
    return _with_copy(syntax, WANTED, WANTED + 1)


@malformed
def wanted_frame_replaced_by_the_last_but_one(syntax):
    return _with_copy(syntax, WANTED, WANTED - 2)


@malformed
def last_frame_replaced_by_the_wanted(syntax):
    return _with_copy(syntax, -1, WANTED)


@malformed
def first_frame_missing_and_the_last_doubled(syntax):
    return _with_frames(syntax, (*codes(syntax)[1:], codes(syntax)[-1]))


@malformed
def number_of_frames_one_too_many(syntax):
    return xa_bytes(good(syntax, NumberOfFrames=7))


@malformed
def number_of_frames_one_too_few(syntax):
    return xa_bytes(good(syntax, NumberOfFrames=5))


@malformed
def number_of_frames_missing(syntax):
    return xa_bytes(good(syntax, NumberOfFrames=None))


@malformed
def number_of_frames_is_one(syntax):
    return xa_bytes(good(syntax, NumberOfFrames=1))


@malformed
def item_longer_than_the_file(syntax):
    data = bytearray(xa_bytes(good(syntax)))
    start, entries = _table(data)
    first = start + 4 * len(entries)
    struct.pack_into("<I", data, first + entries[WANTED] + 4, 0x7FFFFFF0)
    return bytes(data)


@malformed
def item_two_bytes_short(syntax):
    data = bytearray(xa_bytes(good(syntax)))
    start, entries = _table(data)
    position = start + 4 * len(entries) + entries[WANTED] + 4
    struct.pack_into("<I", data, position, struct.unpack_from("<I", data, position)[0] - 2)
    return bytes(data)


@malformed
def truncated_in_the_wanted_frame(syntax):
    data = xa_bytes(good(syntax))
    start, entries = _table(data)
    return data[: start + 4 * len(entries) + entries[WANTED] + 500]


@malformed
def truncated_before_the_last_frame(syntax):
    data = xa_bytes(good(syntax))
    start, entries = _table(data)
    return data[: start + 4 * len(entries) + entries[-1]]


@malformed
def bytes_after_the_items(syntax):
    return xa_bytes(good(syntax)) + b"garbage!"


@malformed
def end_of_items_missing(syntax):
    return xa_bytes(good(syntax))[:-8]


@malformed
def extended_table_shifted_by_one(syntax):
    dataset = with_extended_table(good(syntax), list(codes(syntax)))
    offsets = dataset.ExtendedOffsetTable
    dataset.ExtendedOffsetTable = offsets[8:] + offsets[-8:]
    return xa_bytes(dataset)


@malformed
def extended_table_with_wrong_lengths(syntax):
    dataset = with_extended_table(good(syntax), list(codes(syntax)))
    dataset.ExtendedOffsetTableLengths = bytes(8 * len(run()))
    return xa_bytes(dataset)


@malformed
def extended_table_without_lengths(syntax):
    dataset = with_extended_table(good(syntax), list(codes(syntax)))
    del dataset.ExtendedOffsetTableLengths
    return xa_bytes(dataset)


# --- damage inside the wanted frame -----------------------------------------------------------


def _zeroed(share):
    def zeroed(syntax):
        code = bytearray(codes(syntax)[WANTED])
        start = 100 + int(share * (len(code) - 160))
        code[start : start + 16] = bytes(16)
        return _with_frame(syntax, code)

    zeroed.__name__ = f"sixteen_zeroed_bytes_at_{round(100 * share)}_percent"
    return zeroed


for _share in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95):
    malformed(_zeroed(_share))


def _noise(seed):
    def noise(syntax):
        random = np.random.default_rng(seed)
        code = bytearray(codes(syntax)[WANTED])
        # Noise in the low bytes, the second segment of RLE, is like that of the picture.
        end = len(code) // 3 if syntax == RLELossless else len(code)
        start = int(random.integers(100, end - 80))
        code[start : start + 64] = random.bytes(64)
        return _with_frame(syntax, code)

    noise.__name__ = f"sixty_four_bytes_of_noise_{seed}"
    return noise


for _seed in range(4):
    malformed(_noise(_seed))


@malformed
def half_a_frame(syntax):
    code = codes(syntax)[WANTED]
    return _with_frame(syntax, code[: len(code) // 2])


@malformed
def half_a_frame_with_an_end_marker(syntax):
    code = codes(syntax)[WANTED]
    return _with_frame(syntax, code[: len(code) // 4 * 2] + b"\xff\xd9")


@malformed
def second_half_of_a_frame_zeroed(syntax):
    code = codes(syntax)[WANTED]
    half = len(code) // 2
    return _with_frame(syntax, code[:half] + bytes(len(code) - half - 4) + code[-4:])


@malformed
def frame_without_its_last_hundred_bytes(syntax):
    return _with_frame(syntax, codes(syntax)[WANTED][:-100] + b"\xff\xd9")


@malformed
def frame_of_zeros(syntax):
    return _with_frame(syntax, bytes(len(codes(syntax)[WANTED])))


@malformed
def frame_of_noise(syntax):
    return _with_frame(syntax, np.random.default_rng(5).bytes(4000))


@malformed
def frame_of_two_bytes(syntax):
    return _with_frame(syntax, codes(syntax)[WANTED][:2])


@malformed
def frame_of_another_size(syntax):
    small = pictures(rows=48, columns=64, bits=12)[WANTED]
    return _with_frame(syntax, encode(small, 12, syntax))


@malformed
def frame_turned_on_its_side(syntax):
    return _with_frame(syntax, encode(np.ascontiguousarray(run()[WANTED].T), 12, syntax))


@malformed
def frame_of_another_precision(syntax):
    return _with_frame(syntax, encode(pictures(bits=8)[WANTED], 8, syntax))


@malformed
def frame_of_another_codec(syntax):
    other = JPEGLSLossless if syntax != JPEGLSLossless else JPEGLosslessSV1
    return _with_frame(syntax, codes(other)[WANTED])


@malformed
def frame_followed_by_another(syntax):
    return _with_frame(syntax, codes(syntax)[WANTED] + codes(syntax)[WANTED + 1])


@malformed
def frame_after_another(syntax):
    return _with_frame(syntax, codes(syntax)[WANTED + 1] + codes(syntax)[WANTED])


@malformed
def empty_picture(syntax):
    return _with_frame(syntax, encode(np.full_like(run()[0], 700), 12, syntax))


@malformed
def huge_picture_in_the_frames_header(syntax):
    """60000 × 60000: gigabytes, where the decoder believes it."""
    code = bytearray(codes(syntax)[WANTED])
    if syntax == RLELossless:
        struct.pack_into("<I", code, 0, 15)
    elif syntax == JPEG2000Lossless:
        struct.pack_into(">II", code, 8, 60000, 60000)
    else:
        marker = b"\xff\xc3" if syntax == JPEGLosslessSV1 else b"\xff\xf7"
        struct.pack_into(">HH", code, code.index(marker) + 5, 60000, 60000)
    return _with_frame(syntax, code)


# --- what the header says of the pixels -------------------------------------------------------

HEADERS = {
    "bits_stored_too_small": {"BitsStored": 10, "HighBit": 9},
    "bits_stored_too_large": {"BitsStored": 16, "HighBit": 15},
    "high_bit_alone": {"HighBit": 15},
    "bits_stored_zero": {"BitsStored": 0, "HighBit": 0},
    "bits_stored_above_allocated": {"BitsStored": 17, "HighBit": 16},
    "bits_allocated_eight": {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
    "bits_allocated_32": {"BitsAllocated": 32},
    "signed_values": {"PixelRepresentation": 1},
    "rows_and_columns_swapped": {"Rows": 128, "Columns": 96},
    "half_as_many_columns": {"Rows": 192, "Columns": 64},
    "twice_as_many_columns": {"Rows": 48, "Columns": 256},
    "a_third_of_the_columns": {"Rows": 256, "Columns": 48},
    "one_row_too_many": {"Rows": 97},
    "one_column_too_few": {"Columns": 127},
    "no_rows": {"Rows": 0},
    "rows_missing": {"Rows": None},
    "bits_stored_missing": {"BitsStored": None},
    "samples_per_pixel_missing": {"SamplesPerPixel": None},
    "huge_rows_and_columns": {"Rows": 60000, "Columns": 60000},
    "colour": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
    "palette": {"PhotometricInterpretation": "PALETTE COLOR"},
    "photometric_missing": {"PhotometricInterpretation": None},
    "computed_tomography": {"Modality": "CT"},
    "modality_missing": {"Modality": None},
    "no_frames": {"NumberOfFrames": 0},
    "very_many_frames": {"NumberOfFrames": 2_000_000_000},
    "minus_six_frames": {"NumberOfFrames": -6},
    "slope_zero": {"RescaleSlope": "0", "RescaleIntercept": "0"},
    "window_of_no_width": {"WindowCenter": "100", "WindowWidth": "0"},
    "window_without_width": {"WindowCenter": "100"},
}

for _name, _changes in HEADERS.items():
    for _syntax_name, _syntax in {"native": ExplicitVRLittleEndian, **CODECS}.items():
        CASES[f"{_name}-{_syntax_name}"] = lambda syntax=_syntax, changes=_changes: xa_bytes(
            good(syntax, **changes)
        )


# --- uncompressed pixels ----------------------------------------------------------------------


def _native_with(change):
    pixels = run().copy()
    change(pixels[WANTED].reshape(-1))
    return xa_bytes(xa_dataset(pixels, 12))


@malformed_file
def native_with_sixteen_zeroed_bytes():
    return _native_with(lambda flat: flat.__setitem__(slice(6000, 6008), 0))


@malformed_file
def native_with_sixteen_zeroed_bytes_off_the_grid():
    return _native_with(lambda flat: flat.__setitem__(slice(7004, 7012), 0))


@malformed_file
def native_with_sixteen_zeroed_bytes_at_an_odd_place():
    pixels = run().copy()
    pixels[WANTED].reshape(-1).view(np.uint8)[9013:9029] = 0
    return xa_bytes(xa_dataset(pixels, 12))


@malformed_file
def native_with_four_thousand_zeroed_bytes():
    return _native_with(lambda flat: flat.__setitem__(slice(6000, 8000), 0))


@malformed_file
def native_with_noise():
    noise = np.random.default_rng(0).integers(0, 4096, 256, dtype=np.uint16)
    return _native_with(lambda flat: flat.__setitem__(slice(6000, 6256), noise))


@malformed_file
def native_with_a_frame_missing():
    return xa_bytes(good(PixelData=run()[1:].tobytes()))


@malformed_file
def native_with_a_frame_doubled_and_another_missing():
    return xa_bytes(good(PixelData=run()[[0, 0, 1, 2, 3, 4]].tobytes()))


@malformed_file
def native_cut_short():
    return xa_bytes(good())[:-100]


@malformed_file
def native_two_bytes_too_many():
    return xa_bytes(good(PixelData=run().tobytes() + b"\0\0"))


@malformed_file
def native_with_bytes_inserted():
    data = xa_bytes(good())
    return data[:40_000] + data[39_900:]


@malformed_file
def native_with_a_tail_of_another_file():
    return xa_bytes(good()) + b"\x89PNG\r\n\x1a\n"


@malformed_file
def bytes_swapped():
    return xa_bytes(good(PixelData=run().byteswap().tobytes()))


# --- the file itself --------------------------------------------------------------------------


@malformed_file
def nothing():
    return b""


@malformed_file
def preamble_alone():
    return bytes(128) + b"DICM"


@malformed_file
def not_dicom():
    return b"\x89PNG\r\n\x1a\n" + bytes(1000)


@malformed_file
def encrypted():
    return b"\x30\x82\x10\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(1000)


@malformed_file
def without_transfer_syntax():
    data = xa_bytes(good())
    return data.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI", 1)


@malformed_file
def transfer_syntax_of_another_codec():
    dataset = good(JPEGLosslessSV1)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    return xa_bytes(dataset)


@malformed_file
def transfer_syntax_that_is_not_supported():
    dataset = good(JPEGLosslessSV1)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return xa_bytes(dataset)


@malformed_file
def native_that_claims_to_be_compressed():
    return xa_bytes(good()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)


@malformed_file
def compressed_that_claims_to_be_native():
    return xa_bytes(good(RLELossless)).replace(
        b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0", 1
    )


@malformed_file
def explicit_that_claims_to_be_implicit():
    return xa_bytes(good()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1)


@malformed_file
def little_endian_that_claims_to_be_big():
    return xa_bytes(good()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", 1)


@malformed_file
def big_endian_that_claims_to_be_little():
    data = xa_bytes(good(ExplicitVRBigEndian))
    return data.replace(b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.1\0", 1)


@malformed_file
def implicit_that_claims_to_be_explicit():
    data = xa_bytes(good(ImplicitVRLittleEndian))
    return data.replace(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1", 1)


def _nested(depth):
    """Return sequences of undefined length in one another."""
    start = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return start * depth + end * depth


def _inserted(content, tag=b"\x10\x00\x10\x00PN"):
    data = xa_bytes(good())
    position = data.index(tag)
    return data[:position] + content + data[position:]


@malformed_file
def sequences_nested_ten_thousand_deep():
    return _inserted(_nested(10_000))


@malformed_file
def sequence_without_an_end():
    return _inserted(_nested(3)[:60])


@malformed_file
def sequence_of_half_a_million_items():
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 500_000
    return _inserted(b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + items)


@malformed_file
def element_longer_than_the_file():
    return _inserted(b"\x09\x00\x10\x10OB\0\0\xf0\xff\xff\x7f")


@malformed_file
def element_of_unknown_representation():
    return _inserted(b"\x09\x00\x10\x10ZZ\x04\0\0\0\0\0")


@malformed_file
def rows_given_twice():
    rows = b"\x28\x00\x10\x00US\x02\x00"
    return _inserted(rows + struct.pack("<H", 48), tag=rows)


@malformed_file
def rows_as_text():
    data = xa_bytes(good())
    return data.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00CS", 1)


@malformed_file
def number_of_frames_that_is_no_number():
    return xa_bytes(good()).replace(
        b"\x28\x00\x08\x00IS\x02\x006 ", b"\x28\x00\x08\x00IS\x02\x00x "
    )


@malformed_file
def pixels_missing():
    return xa_bytes(good(PixelData=None))


@malformed_file
def pixels_empty():
    return xa_bytes(good(PixelData=b""))


@malformed_file
def pixels_inside_a_sequence_only():
    dataset = good()
    item = Dataset()
    item.PixelData = dataset.PixelData
    item["PixelData"].VR = "OW"
    del dataset.PixelData
    dataset.IconImageSequence = Sequence([item])
    return xa_bytes(dataset)


@malformed_file
def enhanced_xa():
    return xa_bytes(good(SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1.1"))


@malformed_file
def lookup_table_shorter_than_it_says():
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = bytes(100)
    item["LUTData"].VR = "OW"
    return xa_bytes(good(VOILUTSequence=Sequence([item])))


def _deflated(content):
    """Return a deflated file with `content` in the place of its data set."""
    data = xa_bytes(good(DeflatedExplicitVRLittleEndian))
    meta = dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta
    start = 132 + 12 + meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[:start] + packer.compress(content) + packer.flush()


@malformed_file
def deflated_bomb_before_the_pixels():
    header = b"\x09\x00\x10\x10OB\0\0" + struct.pack("<I", 0xF0000000)
    return _deflated(header + bytes(2_000_000))


@malformed_file
def deflated_bomb_that_never_ends():
    element = b"\x09\x00\x10\x10OB\0\0" + struct.pack("<I", 100_000_000) + bytes(100_000_000)
    return _deflated(element)


@malformed_file
def deflated_with_a_damaged_stream():
    data = bytearray(xa_bytes(good(DeflatedExplicitVRLittleEndian)))
    data[len(data) // 3 : len(data) // 3 + 8] = b"\xff" * 8
    return bytes(data)


@malformed_file
def deflated_cut_short():
    data = xa_bytes(good(DeflatedExplicitVRLittleEndian))
    return data[: len(data) // 4]


@malformed_file
def deflated_without_its_last_bytes():
    return xa_bytes(good(DeflatedExplicitVRLittleEndian))[:-200]


def _cut(position):
    def cut():
        return xa_bytes(good())[:position]

    cut.__name__ = f"cut_after_{position}_bytes"
    return cut


for _position in (1, 100, 131, 133, 150, 200, 300, 350, 400, 450, 500, 550, 600):
    malformed_file(_cut(_position))
