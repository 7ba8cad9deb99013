"""More malformed runs, for the same tests: tables of codes, segments, elements that lie.

Most of these decode to a picture of the right size without a word from the decoder, since what is
wrong is what the decoder decodes *by*.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from malformed_runs import (
    CASES,
    WANTED,
    _deflated,
    _inserted,
    _nested,
    _table,
    _with_frame,
    _with_frames,
    codes,
    good,
    malformed,
    malformed_file,
    run,
)
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from xa_files import encode, even, with_codes, with_extended_table, xa_bytes

#: Those that are legal, or lie about nothing that is used.
HARMLESS: set[str] = set()


def harmless(function):
    """Register a case that must be read rightly."""
    HARMLESS.add(function.__name__)
    return malformed_file(function)


def _wanted(syntax):
    return bytearray(codes(syntax)[WANTED])


def _rewritten(syntax, old, new, count=1):
    code = bytes(_wanted(syntax))
    assert old in code
    return _with_frame(syntax, code.replace(old, new, count))


def _replaced_table(syntax, table):
    """Put other bytes in the place of the basic offset table."""
    data = xa_bytes(good(syntax))
    start, entries = _table(data)
    end = start + 4 * len(entries)
    return data[: start - 4] + struct.pack("<I", len(table)) + table + data[end:]


# --- offset tables and items ----------------------------------------------------------------------


@malformed
def table_of_one_entry(syntax):
    return _replaced_table(syntax, bytes(4))


@malformed
def table_of_an_odd_length(syntax):
    return _replaced_table(syntax, bytes(6))


@malformed
def table_with_an_entry_too_many(syntax):
    data = xa_bytes(good(syntax))
    start, entries = _table(data)
    packed = data[start : start + 4 * len(entries)]
    return _replaced_table(syntax, packed + struct.pack("<I", entries[-1] + 8))


@malformed
def extended_table_against_the_basic_one(syntax):
    dataset = with_extended_table(good(syntax), list(codes(syntax)))
    offsets = dataset.ExtendedOffsetTable
    dataset = with_codes(dataset, list(codes(syntax)))
    dataset.ExtendedOffsetTable = offsets[:16] + offsets[8:16] + offsets[24:]
    return xa_bytes(dataset)


@malformed
def extended_table_of_an_odd_length(syntax):
    dataset = with_extended_table(good(syntax), list(codes(syntax)))
    dataset.ExtendedOffsetTable = dataset.ExtendedOffsetTable[:-2]
    return xa_bytes(dataset)


@malformed
def items_in_the_other_byte_order(syntax):
    data = xa_bytes(good(syntax))
    start, entries = _table(data)
    first = start + 4 * len(entries)
    return data[:first] + b"\xff\xfe\xe0\x00" + data[first + 4 :]


@malformed
def frame_behind_the_end_of_items(syntax):
    data = xa_bytes(_kept(syntax, 5))
    last = even(bytes(codes(syntax)[5]))
    return data + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(last)) + last


def _kept(syntax, count):
    return with_codes(good(syntax), list(codes(syntax))[:count], has_table=False)


@malformed
def wanted_frame_of_the_run_before_last_twice(syntax):
    frames = list(codes(syntax))
    frames[WANTED] = frames[WANTED - 1]
    return _with_frames(syntax, frames, has_table=True)


# --- JPEG: what the frame is decoded by -----------------------------------------------------------


def _jpeg(change, syntax=JPEGLosslessSV1):
    code = _wanted(JPEGLosslessSV1)
    change(code)
    if syntax == JPEGLosslessSV1:
        return _with_frame(syntax, code)
    frames = [bytes(one) for one in codes(JPEGLosslessSV1)]
    frames[WANTED] = even(bytes(code))
    dataset = with_codes(good(JPEGLosslessSV1), frames)
    dataset.file_meta.TransferSyntaxUID = syntax
    return xa_bytes(dataset)


def _symbols(code):
    """Return where the symbols of the Huffman table begin."""
    return code.index(b"\xff\xc4") + 5 + 16


@malformed_file
def jpeg_with_two_categories_exchanged():
    def change(code):
        at = _symbols(code)
        code[at + 4], code[at + 5] = code[at + 5], code[at + 4]

    return _jpeg(change)


@malformed_file
def jpeg_with_all_categories_turned_round():
    def change(code):
        at = _symbols(code)
        code[at + 1 : at + 9] = code[at + 1 : at + 9][::-1]

    return _jpeg(change)


@malformed_file
def jpeg_with_a_category_of_seventeen_bits():
    def change(code):
        code[_symbols(code) + 3] = 17

    return _jpeg(change)


@malformed_file
def jpeg_without_its_huffman_table():
    def change(code):
        start = code.index(b"\xff\xc4")
        size = int.from_bytes(code[start + 2 : start + 4], "big") + 2
        del code[start : start + size]

    return _jpeg(change)


@malformed_file
def jpeg_whose_comment_swallows_the_table():
    def change(code):
        start = code.index(b"\xff\xc4")
        code[start:start] = b"\xff\xfe" + struct.pack(">H", 40)

    return _jpeg(change)


def _predicted(selection):
    def predicted():
        def change(code):
            code[code.index(b"\xff\xda") + 7] = selection

        return _jpeg(change, JPEGLossless)

    predicted.__name__ = f"jpeg_that_claims_predictor_{selection}"
    return predicted


for _selection in range(2, 8):
    malformed_file(_predicted(_selection))


@malformed_file
def jpeg_with_a_point_transform():
    def change(code):
        code[code.index(b"\xff\xda") + 9] = 1

    return _jpeg(change)


@malformed_file
def jpeg_of_sixteen_bits_by_its_own_header():
    def change(code):
        code[code.index(b"\xff\xc3") + 4] = 16

    return _jpeg(change)


@malformed_file
def jpeg_with_a_restart_interval_and_no_markers():
    def change(code):
        start = code.index(b"\xff\xda")
        code[start:start] = b"\xff\xdd" + struct.pack(">HH", 4, 128 * 8)

    return _jpeg(change)


@malformed_file
def jpeg_one_row_shorter_than_its_run():
    def change(code):
        struct.pack_into(">H", code, code.index(b"\xff\xc3") + 5, 95)

    return _jpeg(change)


@harmless
def jpeg_with_a_comment():
    def change(code):
        start = code.index(b"\xff\xc4")
        code[start:start] = b"\xff\xfe" + struct.pack(">H", 14) + b"Planted name"

    return _jpeg(change)


@harmless
def jpeg_with_fill_bytes_before_a_marker():
    def change(code):
        start = code.index(b"\xff\xda")
        code[start:start] = b"\xff\xff"

    return _jpeg(change)


# --- JPEG-LS and JPEG 2000 ------------------------------------------------------------------------


@malformed_file
def jpeg_ls_with_other_thresholds():
    preset = b"\xff\xf8" + struct.pack(">HBHHHHH", 13, 1, 4095, 40, 90, 400, 64)
    return _rewritten(JPEGLSLossless, b"\xff\xda", preset + b"\xff\xda")


@malformed_file
def jpeg_ls_that_claims_to_be_near_lossless():
    code = _wanted(JPEGLSLossless)
    code[code.index(b"\xff\xda") + 7] = 2
    return _with_frame(JPEGLSLossless, code)


def _jpeg_2000(marker, offset, change):
    code = _wanted(JPEG2000Lossless)
    at = code.index(marker) + offset
    code[at] = change(code[at])
    return _with_frame(JPEG2000Lossless, code)


@malformed_file
def jpeg_2000_with_a_level_of_wavelets_less():
    return _jpeg_2000(b"\xff\x52", 9, lambda levels: levels - 1)


@malformed_file
def jpeg_2000_with_other_code_blocks():
    return _jpeg_2000(b"\xff\x52", 10, lambda size: size - 1)


@malformed_file
def jpeg_2000_with_bypassed_coding():
    return _jpeg_2000(b"\xff\x52", 12, lambda style: style | 1)


@malformed_file
def jpeg_2000_with_a_step_more():
    return _jpeg_2000(b"\xff\x5c", 5, lambda exponent: exponent ^ 0x08)


@malformed_file
def jpeg_2000_with_all_guard_bits():
    return _jpeg_2000(b"\xff\x5c", 4, lambda style: style ^ 0xE0)


@malformed_file
def jpeg_2000_in_no_layers():
    return _jpeg_2000(b"\xff\x52", 7, lambda layers: 0)


@malformed_file
def jpeg_2000_with_colours_mixed():
    return _jpeg_2000(b"\xff\x52", 8, lambda mixed: 1)


# --- RLE ------------------------------------------------------------------------------------------


def _planes():
    code = bytes(_wanted(RLELossless))
    _count, first, second = struct.unpack_from("<3I", code)
    return code[first:second], code[second:]


def _rle(planes, offsets=None):
    offsets = offsets or [64, 64 + len(planes[0])]
    head = struct.pack("<I", len(planes)) + struct.pack(f"<{len(offsets)}I", *offsets)
    return _with_frame(RLELossless, head.ljust(64, b"\0") + b"".join(planes))


@malformed_file
def rle_with_its_bytes_exchanged():
    return _rle(_planes()[::-1])


@malformed_file
def rle_with_one_plane_twice():
    high, _low = _planes()
    return _rle([high, high])


@malformed_file
def rle_in_three_segments():
    high, low = _planes()
    return _rle([high, low, low], [64, 64 + len(high), 64 + len(high) + len(low)])


@malformed_file
def rle_with_a_longer_literal():
    high, low = map(bytearray, _planes())
    high[0] = (high[0] + 1) % 128
    return _rle([bytes(high), bytes(low)])


@malformed_file
def rle_whose_end_is_a_run_of_zeros():
    high, _low = _planes()
    rows, columns = run()[0].shape
    tail = b"".join(struct.pack("bB", -127, 0) for _ in range(rows * columns // 128))
    return _rle([high, even(tail)])


@malformed_file
def rle_with_offsets_that_overlap():
    high, low = _planes()
    return _rle([high, low], [64, 60 + len(high) // 2])


@harmless
def rle_with_bytes_that_say_nothing():
    high, low = _planes()
    return _rle([b"\x80\x80" + high, low])


# --- deflated -------------------------------------------------------------------------------------


def _data_set():
    data = xa_bytes(good())
    return data[data.index(b"\x08\x00\x16\x00UI") :]


@malformed_file
def deflated_twice():
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return _deflated(packer.compress(_data_set()) + packer.flush())


@malformed_file
def deflated_as_zlib_does():
    plain = _deflated(b"")
    return plain[:-2] + zlib.compress(_data_set())


@malformed_file
def deflated_bomb_behind_the_pixels():
    tail = b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", 50_000_000) + bytes(50_000_000)
    return _deflated(_data_set() + tail[:-4])


@malformed_file
def deflated_without_a_pixel():
    return _deflated(_data_set()[:200])


@harmless
def deflated_with_a_preamble_of_another_format():
    return b"MM\0*".ljust(128, b"\0") + xa_bytes(good(DeflatedExplicitVRLittleEndian))[128:]


# --- elements -------------------------------------------------------------------------------------


def _element(old, new):
    data = xa_bytes(good())
    assert data.count(old) == 1
    return data.replace(old, new)


@malformed_file
def rows_of_four_bytes():
    return _element(
        b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", 96),
        b"\x28\x00\x10\x00UL\x04\x00" + struct.pack("<I", 96),
    )


@malformed_file
def rows_of_two_values():
    return _element(
        b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", 96),
        b"\x28\x00\x10\x00US\x04\x00" + struct.pack("<HH", 96, 96),
    )


@malformed_file
def number_of_frames_in_binary():
    return _element(b"\x28\x00\x08\x00IS\x02\x006 ", b"\x28\x00\x08\x00US\x02\x00\x06\x00")


@malformed_file
def number_of_frames_of_two_values():
    return _element(b"\x28\x00\x08\x00IS\x02\x006 ", b"\x28\x00\x08\x00IS\x04\x006\\6 ")


@malformed_file
def representation_in_small_letters():
    return _element(b"\x28\x00\x11\x00US", b"\x28\x00\x11\x00us")


@harmless
def rows_of_unknown_representation():
    return _element(b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00UN\x00\x00\x02\x00\x00\x00")


@malformed_file
def pixels_as_a_sequence_of_undefined_length():
    data = xa_bytes(good())
    at = data.index(b"\xe0\x7f\x10\x00OW")
    return data[:at] + b"\xe0\x7f\x10\x00SQ\0\0\xff\xff\xff\xff" + data[at + 12 :]


@malformed_file
def pixels_longer_than_four_gigabytes():
    data = xa_bytes(good())
    at = data.index(b"\xe0\x7f\x10\x00OW") + 8
    return data[:at] + b"\xfe\xff\xff\xff" + data[at + 4 :]


@malformed_file
def file_meta_length_of_nothing():
    data = xa_bytes(good())
    return data[:140] + b"\x02\0\x10\0UI\0\0" + data[152:]


@malformed_file
def name_a_byte_shorter_than_it_says():
    return _element(b"Planted^Name", b"Planted^Nam")


@harmless
def sequence_whose_item_is_longer_than_it():
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", 400) + bytes(20)
    return _inserted(b"\x08\x00\x15\x11SQ\0\0" + struct.pack("<I", len(item)) + item)


@malformed_file
def sequence_that_ends_twice():
    return _inserted(_nested(2) + b"\xfe\xff\xdd\xe0\0\0\0\0")


@malformed_file
def item_without_a_sequence():
    return _inserted(b"\xfe\xff\x00\xe0\x04\0\0\0\0\0\0\0")


@malformed_file
def sixty_thousand_elements():
    one = b"".join(struct.pack("<HH2sHI", 9, 0x1000 + k, b"OB", 0, 0) for k in range(0xE000))
    return _inserted(one)


HEADERS = {
    "slope_beyond_all_numbers": {"RescaleSlope": "1e400", "RescaleIntercept": "0"},
    "intercept_beyond_all_numbers": {"RescaleSlope": "1", "RescaleIntercept": "-1e999"},
    "slope_that_is_no_number": {"RescaleSlope": "1", "RescaleIntercept": "nan"},
    "window_beyond_all_numbers": {"WindowCenter": "1e400", "WindowWidth": "200"},
    "window_of_endless_width": {"WindowCenter": "100", "WindowWidth": "1e400"},
    "window_of_negative_width": {"WindowCenter": "100", "WindowWidth": "-256"},
}


def _header(changes, syntax):
    dataset = good(syntax)
    for keyword, value in changes.items():
        setattr(dataset, keyword, "1")
        dataset[keyword]._value = value  # what pydicom would refuse
    return xa_bytes(dataset)


for _name, _changes in HEADERS.items():
    CASES[_name] = lambda changes=_changes: _header(changes, ExplicitVRLittleEndian)


@malformed
def frame_of_the_wanted_size_and_noise(syntax):
    noise = np.random.default_rng(77).integers(1, 4095, run()[0].shape, dtype=np.uint16)
    return _with_frame(syntax, encode(noise, 12, syntax))
