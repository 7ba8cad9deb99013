"""The way of one run from its file to its results, and of several, none stopping the others.

Conventions
-----------
In errors a run goes by its position among all that were given, ``run 2 of 3``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam3_angio.analysis.findings import Rules, lesion_findings, segment_findings, tree_finding
from sam3_angio.analysis.inputs import pseudonym
from sam3_angio.analysis.isolation import Isolated
from sam3_angio.analysis.models import Models
from sam3_angio.analysis.run_frame import RunFrame, read_run_frame
from sam3_angio.detector.found import PhraseAnswer
from sam3_angio.dicom.picture import PictureSettings
from sam3_angio.errors import AngioError, DataError, Fault
from sam3_angio.progress import tracked
from sam3_angio.results import FrameAnalysis, write_analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How runs are analysed and written.

    Attributes
    ----------
    out : Path
        Results of a run go into a folder of it.
    frame : int or None
        An explicit frame, from 0, of every run.
    picture : PictureSettings
        How frames are displayed, and what of them is made black.
    rules : Rules
    identified : bool
        Whether the DICOM objects keep the patient's and the study's modules.
    """

    out: Path
    frame: int | None
    picture: PictureSettings
    rules: Rules
    identified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A file and what it is called in errors.

    Attributes
    ----------
    path : Path
    position : str
    """

    path: Path
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    position : str
    analysis : FrameAnalysis or None
        None where it failed.
    faults : tuple of Fault
        Why it failed.
    doubt : str
        What is odd about how its frame is displayed; empty where nothing is.
    """

    position: str
    analysis: FrameAnalysis | None
    faults: tuple[Fault, ...]
    doubt: str = ""


def analyse_runs(runs: Sequence[Path], models: Models, settings: Settings) -> Iterator[Outcome]:
    """Analyse runs one by one, with progress; yield what became of each.

    Parameters
    ----------
    runs : sequence of Path
    models : Models
    settings : Settings
    """
    with Isolated() as child:
        for place, path in enumerate(tracked(runs, len(runs), "Analysing runs"), 1):
            run = Run(path=path, position=f"run {place} of {len(runs)}")
            yield _outcome(run, child, models, settings)


def _outcome(run: Run, child: Isolated, models: Models, settings: Settings) -> Outcome:
    position = run.position
    try:
        frame = child.do(
            position,
            read_run_frame,
            run.path,
            name=position,
            wanted=settings.frame,
            settings=settings.picture,
        )
        analysis = analyse_frame(run, frame, models, settings.rules)
        folder = settings.out / analysis.name
        write_analysis(analysis, folder, identified=settings.identified)
    except AngioError as error:
        faults = error.faults or (Fault(file=position, message=error.headline),)
        return Outcome(position=position, analysis=None, faults=faults)
    except OSError as error:
        reason = error.strerror or "input or output error"
        fault = Fault(file=position, message=f"its results cannot be written ({reason}).")
        return Outcome(position=position, analysis=None, faults=(fault,))
    return Outcome(position=position, analysis=analysis, faults=(), doubt=frame.doubt)


def analyse_frame(run: Run, frame: RunFrame, models: Models, rules: Rules) -> FrameAnalysis:
    """Analyse the frame of a run; nothing is written.

    Parameters
    ----------
    run : Run
    frame : RunFrame
    models : Models
    rules : Rules

    Raises
    ------
    DataError
        The view is unknown to a model that is told it.
    """
    (tree,) = models.tree.ask(frame.picture, models.tree.published.prompts(frame.view))
    named = _named(models, frame, run.position)
    segments = segment_findings(named, frame.picture, frame.spacing, rules)
    return FrameAnalysis(
        name=pseudonym(run.path, position=run.position),
        source=frame.source,
        frame_index=frame.index,
        frame_reason=frame.reason,
        picture=frame.picture,
        view=frame.view,
        spacing=frame.spacing,
        tree=tree_finding(tree, rules),
        segments=segments,
        lesions=lesion_findings(named, segments, rules),
        model=models.text,
    )


def _named(models: Models, frame: RunFrame, position: str) -> tuple[PhraseAnswer, ...]:
    """Ask for segments and stenoses; nothing where nobody is asked for them."""
    if models.names is None:
        return ()
    published = models.names.published
    if published.needs_view and frame.view is None:
        message = f"the header has no view angle, which the model of {published.label} is told."
        raise DataError.at(position, message, "Give a model that is not told the view.")
    return models.names.ask(frame.picture, published.prompts(frame.view))
