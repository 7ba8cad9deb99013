"""A child process that crashes, hangs or eats memory costs its own file alone."""

from __future__ import annotations

import os
import sys
import time

import pytest

from sam3_angio.analysis.isolation import Isolated
from sam3_angio.errors import DataError


def add(one, other):
    return one + other


def refuse(name):
    raise DataError.at(name, "it is broken.")


def crash():
    os.abort()


def hang():
    time.sleep(60)


def eat():
    return len(bytearray(16 << 30))


def test_results_and_errors_come_back():
    with Isolated() as child:
        assert child.do("run 1", add, 1, other=2) == 3
        with pytest.raises(DataError, match="run 2: it is broken"):
            child.do("run 2", refuse, "run 2")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
@pytest.mark.parametrize("work", [crash, hang, eat])
def test_what_follows_a_lost_child_is_done_by_another(work):
    with Isolated(seconds=2) as child:
        with pytest.raises(DataError, match="run 1: reading it crashed, or took over 2 seconds"):
            child.do("run 1", work)
        assert child.do("run 2", add, 1, 2) == 3
