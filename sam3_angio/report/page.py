"""``report/index.html``: one file that shows the whole evaluation, offline, to anyone.

Conventions
-----------
The page has no script and loads nothing: pictures and charts stand in it, and its policy
(``Content-Security-Policy``) forbids the browser everything else. Layers over pictures are switched
by check boxes and style sheets, so they work by keyboard. All data are escaped by jinja2; what is
taken as it is are the charts of :mod:`sam3_angio.report.svg` and the style sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from sam3_angio.errors import AngioError
from sam3_angio.files import write_text
from sam3_angio.report.composition import PARTITIONS, CountTable
from sam3_angio.report.gallery import PictureGroup
from sam3_angio.report.page_charts import (
    Chart,
    curve_charts,
    lesion_charts,
    name_charts,
    tree_charts,
    view_charts,
)
from sam3_angio.report.page_figures import (
    ARM_FIGURES,
    PHRASE_WORDS,
    ArmRow,
    RowGroup,
    arm_rows,
    result_rows,
)
from sam3_angio.report.provenance import Provenance

#: The page is handed on by mail; it stays far below unless frames are very many.
MAX_BYTES = 5 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """Everything that the page shows.

    Attributes
    ----------
    documents : mapping
        ``metrics/phase….json`` by name.
    charts : mapping of str to tuple of Chart
        By section: ``curves``, ``tree``, ``names``, ``view``, ``lesions``.
    gallery : tuple of PictureGroup
    composition : tuple of CountTable
    provenance : Provenance
    """

    documents: Mapping[str, Mapping[str, Any]]
    charts: Mapping[str, tuple[Chart, ...]]
    gallery: tuple[PictureGroup, ...]
    composition: tuple[CountTable, ...]
    provenance: Provenance

    @property
    def results(self) -> tuple[RowGroup, ...]:
        """Return the result table."""
        return result_rows(self.documents)

    @property
    def arms(self) -> tuple[ArmRow, ...]:
        """Return the table of Phase 3, empty without it."""
        return arm_rows(self.documents["phase3"]) if "phase3" in self.documents else ()


def draw_charts(
    metrics: Path, curves: Path, documents: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[Chart, ...]]:
    """Draw the charts of every section whose tables are there.

    Parameters
    ----------
    metrics : Path
        Holds the tables that ``evaluate`` writes.
    curves : Path
        Holds a folder of learning curves a training.
    documents : mapping
        As of `PageContent`.
    """
    return {
        "curves": tuple(curve_charts(curves)),
        "tree": tuple(tree_charts(metrics)),
        "names": tuple(name_charts(metrics, PHRASE_WORDS)),
        "view": tuple(view_charts(metrics)),
        "lesions": tuple(lesion_charts(metrics, documents.get("phase4", {}))),
    }


def render_page(content: PageContent) -> str:
    """Return the page's HTML.

    Raises
    ------
    AngioError
        It is larger than `MAX_BYTES`.
    """
    environment = Environment(
        loader=PackageLoader("sam3_angio.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files("sam3_angio.report").joinpath("templates", "page.css")
    page = environment.get_template("page.html").render(
        content=content,
        style=Markup(style.read_text(encoding="utf-8")),
        partitions=PARTITIONS,
        arm_figures=ARM_FIGURES,
    )
    if len(page.encode()) > MAX_BYTES:
        message = f"The report would be larger than {MAX_BYTES // 10**6} MB."
        raise AngioError(f"{message} Lower evaluate.overlays in params.yaml.")
    return page


def write_page(path: Path, content: PageContent) -> None:
    """Write the page."""
    write_text(path, render_page(content))
