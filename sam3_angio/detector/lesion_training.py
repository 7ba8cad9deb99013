"""Phase 4: segments by name and their lesions, from a model that names segments.

It starts from the model of Phase 2 or from Phase 3's arm ``none``, which differ in how long they
were trained; the arms that are told the view are other models and no start for this one.
"""

from __future__ import annotations

from pathlib import Path

from sam3_angio.detector.training import Job


def findings_job(start: Path) -> Job:
    """Return the training of Phase 4.

    Parameters
    ----------
    start : Path
        Folder of the model to start from.
    """
    return Job(
        recipe="phase4",
        label="Phase 4",
        sections=("model", "prompts", "train", "train_phase4"),
        labels="findings",
        start=start / "checkpoint.pt",
        ignored=("start",),
    )
