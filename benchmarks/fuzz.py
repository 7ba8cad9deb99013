"""Search a reader for files that it neither accepts nor refuses, guided by what they reach in it.

``python benchmarks/fuzz.py dicom --seconds 600`` runs Atheris (Google's libFuzzer for Python) on
one of the targets of ``tests/fuzz_targets.py``. It ends with the first defect: an exception other
than ``AngioError``, a personal value in an error, a file that takes over 20 seconds or 2 GB.
Atheris is not among the development dependencies, as it has wheels for Linux alone: ``uv pip
install atheris``. New inputs are kept in the folder ``--corpus``, so that a later search goes on
from there. ``tests/test_fuzz.py`` asks the same targets with Hypothesis, in seconds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

try:
    import atheris
except ImportError:
    sys.exit("This needs Atheris: uv pip install atheris")

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
with atheris.instrument_imports(include=["sam3_angio"]):
    import fuzz_targets


def main(
    target: Annotated[str, typer.Argument(help=f"One of {', '.join(fuzz_targets.TARGETS)}.")],
    seconds: Annotated[int, typer.Option(help="How long.")] = 60,
    corpus: Annotated[Path, typer.Option(help="Folder of inputs.")] = Path("outputs/fuzz"),
) -> None:
    """Fuzz one reader."""
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(fuzz_targets.seeds(target)):
        (folder / f"seed{number}").write_bytes(content)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"input{fuzz_targets.TARGETS[target][1]}"

        def one_input(content: bytes) -> None:
            fuzz_targets.one_input(target, path, content)

        limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048"]
        defect = f"-artifact_prefix={folder}/defect-"
        options = [*limits, defect, "-max_len=200000", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, str(folder)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    typer.run(main)
