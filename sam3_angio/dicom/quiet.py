"""Keep out of the terminal what a C library writes there of a damaged frame.

libjpeg inside GDCM prints "Corrupt JPEG data: ..." to the process's standard error, and has no
setting that GDCM would pass on. The findings say the same in our words.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_STDERR = 2
#: How libjpeg's messages of damage begin.
_OF_LIBJPEG = (b"Corrupt JPEG data", b"Premature end of JPEG", b"Invalid JPEG", b"Unsupported JPEG")
#: There is one standard error, which threads must not exchange at once.
_ONE_AT_A_TIME = Lock()


@contextmanager
def without_messages_of_libjpeg() -> Iterator[None]:
    """Catch what is written to standard error, and pass on all but libjpeg's messages.

    What other threads write meanwhile comes after the decoding. Where there is no standard error,
    nothing is done.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as caught:
        try:
            kept = os.dup(_STDERR)
        except OSError:
            yield
            return
        os.dup2(caught.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            caught.seek(0)
            lines = caught.read().splitlines(keepends=True)
            rest = b"".join(line for line in lines if not line.startswith(_OF_LIBJPEG))
            if rest:
                os.write(_STDERR, rest)
