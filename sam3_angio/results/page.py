"""One page about an analysed frame: a self-contained HTML file that opens without a network."""

from __future__ import annotations

import base64
from importlib import resources

from jinja2 import Environment, StrictUndefined

from sam3_angio.anatomy import segments
from sam3_angio.results.analysis import NOTICE, FrameAnalysis
from sam3_angio.results.numbers import analysis_numbers
from sam3_angio.results.overlay import findings_panel, frame_panel, png, segment_colour

SCALES = {
    "calibration": "the catheter's calibration",
    "sod_sid": "detector pixels and the distances to patient and detector",
    "magnification": "detector pixels and the estimated magnification",
    "detector": "detector pixels alone, not corrected for magnification: too large at the patient",
}
"""What the source of a scale means."""


def page(analysis: FrameAnalysis) -> str:
    """Return the page.

    Parameters
    ----------
    analysis : FrameAnalysis
    """
    template = resources.files("sam3_angio.results") / "templates" / "analysis.html.j2"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        notice=NOTICE,
        found=analysis_numbers(analysis),
        scale=SCALES.get(analysis.spacing.source),
        names={number: segment.name for number, segment in segments().items()},
        colours=[segment_colour(place) for place in range(len(analysis.segments))],
        pictures=[_data_uri(png(draw(analysis))) for draw in (frame_panel, findings_panel)],
    )


def _data_uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"
