"""One page about an analysed frame: a self-contained HTML file that opens without a network."""

from __future__ import annotations

import base64
from importlib import resources

from jinja2 import Environment, StrictUndefined

from sam3_angio.results.analysis import NOTICE, FrameAnalysis
from sam3_angio.results.numbers import analysis_numbers


def page(analysis: FrameAnalysis, overlay_png: bytes) -> str:
    """Return the page.

    Parameters
    ----------
    analysis : FrameAnalysis
    overlay_png : bytes
        From :func:`sam3_angio.results.overlay.overlay_png`; becomes part of the page.
    """
    template = resources.files("sam3_angio.results") / "templates" / "analysis.html.j2"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        notice=NOTICE,
        found=analysis_numbers(analysis),
        has_scale=analysis.has_scale,
        overlay=base64.b64encode(overlay_png).decode("ascii"),
    )
