"""Damaged files of every kind: a reader accepts one or tells in a ``DataError`` why not."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_targets import TARGETS, one_input, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam3_angio.errors import DataError
from sam3_angio.label_mask import read_mask
from sam3_angio.medis import contour_faults, crossings, read_contour

#: What turns one valid file into another kind of file, more often than single bits do.
TOKENS = (
    b"\0", b"\xff" * 4, b"\n", b"\r\n", b",", b";", b'"', b"[", b"]", b"{", b"}", b":", b"NaN",
    b"-1", b"1e309", b"999999999999", b"null", b"true", b"\xef\xbb\xbf", b"\xff\xfe", b"DICM",
    b"\xfe\xff\x00\xe0", b"\xff\xd8\xff\xc3", b"IDAT", b"acTL", b"\xe2\x80\xae",
)  # fmt: skip
SIZE_LIMIT = 200 * 2**20
SECONDS_LIMIT = 10

Edit = tuple[float, int, bytes]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 40),
        st.binary(max_size=6) | st.sampled_from(TOKENS),
    ),
    min_size=1,
    max_size=5,
)


def damaged(content: bytes, edits: list[Edit]) -> bytes:
    """Replace pieces of a file; places are shares of its length, denser towards its start."""
    for place, lost, added in edits:
        start = int(place**2 * len(content))
        content = content[:start] + added + content[start + lost :]
    return content


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 20), edits=EDITS)
def test_a_damaged_file_is_accepted_or_told(
    tmp_path: Path, name: str, seed: int, edits: list[Edit]
) -> None:
    good = seeds(name)
    one_input(name, tmp_path / f"run{TARGETS[name][1]}", damaged(good[seed % len(good)], edits))


@pytest.mark.parametrize("name", TARGETS)
def test_the_files_that_are_damaged_are_good(tmp_path: Path, name: str) -> None:
    for content in seeds(name):
        assert one_input(name, tmp_path / f"run{TARGETS[name][1]}", content)


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(noise=st.binary(max_size=400))
def test_noise_is_refused(tmp_path: Path, name: str, noise: bytes) -> None:
    assert not one_input(name, tmp_path / f"run{TARGETS[name][1]}", noise)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_in_any_field_of_a_contour_is_accepted_or_told(
    tmp_path: Path, data: st.DataObject
) -> None:
    content: dict[str, Any] = json.loads(seeds("contour")[0])
    place = content
    key = data.draw(st.sampled_from(sorted(content)))
    if isinstance(content[key], dict) and data.draw(st.booleans()):
        place = content[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(VALUES)
    one_input("contour", tmp_path / "run.json", json.dumps(content).encode())


def _zigzag(points: int, size: float) -> dict[str, Any]:
    draw = random.Random(0)
    edge = [[draw.uniform(-size, size), draw.uniform(-size, size)] for _ in range(points)]
    return {"left_edge": edge, "right_edge": edge[::-1], "frame_num": 2}


@pytest.mark.parametrize("size", [60.0, 1e6])
def test_the_largest_contour_takes_bounded_time_and_memory(tmp_path: Path, size: float) -> None:
    path = tmp_path / "contour.json"
    path.write_text(json.dumps(_zigzag(4000, size)))
    tracemalloc.start()
    started = time.process_time()
    faults = contour_faults(read_contour(path), "contour", (512, 512))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert faults
    assert peak < SIZE_LIMIT
    assert time.process_time() - started < SECONDS_LIMIT


def test_a_contour_of_too_many_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contour.json"
    path.write_text(json.dumps(_zigzag(4001, 60)))
    with pytest.raises(DataError, match="4000"):
        read_contour(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_would_fill_the_memory_is_refused_unread(tmp_path: Path) -> None:
    content = seeds("mask")[0]
    for side in (10_000, 60_000, 2**31 - 1):
        header = bytearray(content)
        header[16:24] = side.to_bytes(4, "big") * 2
        header[29:33] = _crc(bytes(header[12:29]))
        path = tmp_path / "mask.png"
        path.write_bytes(header)
        with pytest.raises(DataError, match="8192"):
            read_mask(path)


def _crc(chunk: bytes) -> bytes:
    return zlib.crc32(chunk).to_bytes(4, "big")


def test_crossings_are_those_of_a_plain_count_of_pairs() -> None:
    polygon = np.random.default_rng(0).uniform(0, 50, (150, 2))

    def cut(i: int, j: int) -> bool:
        a, b = polygon[i], polygon[(i + 1) % 150]
        c, d = polygon[j], polygon[(j + 1) % 150]

        def side(p: Any, q: Any, r: Any) -> float:
            return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

        return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0

    assert crossings(polygon) == sum(cut(i, j) for i in range(150) for j in range(i + 1, 150))
