"""What is no file is refused at once: a named pipe would be waited for without end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sam3_angio.errors import DataError
from sam3_angio.intake.table import read_site_table
from sam3_angio.label_mask import read_mask
from sam3_angio.medis import read_contour
from sam3_angio.table import read_table

READERS: dict[str, Callable[[Path], object]] = {
    "site.csv": lambda path: read_site_table(path, "RAO+"),
    "table.csv": lambda path: read_table(path, ["a"]),
    "contour.json": read_contour,
    "mask.png": read_mask,
    "mask.npy": read_mask,
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("name", READERS)
def test_a_named_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    told: list[DataError] = []

    def read() -> None:
        try:
            READERS[name](tmp_path / name)
        except DataError as error:
            told.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=20)
    assert told, "it is still waiting"


@pytest.mark.parametrize("name", READERS)
def test_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError):
        READERS[name](tmp_path / name)
