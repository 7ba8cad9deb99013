"""Charts as SVG that stands inside a page and follows its colours.

matplotlib draws; its SVG is then made fit for a page: names are told apart between charts, sizes
are left to the page, and colours become the page's CSS variables, so that one chart serves a light
and a dark page.

Conventions
-----------
A chart is drawn in the colours `INK`, `FAINT` and `SERIES`, placeholders that nothing else uses;
``--ink``, ``--faint`` and ``--series-1`` to ``--series-8`` take their place. Equal charts are equal
bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, FAINT = "#010101", "#020202"
SERIES = tuple(f"#0300{place:02x}" for place in range(1, 9))

_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)"} | {
    colour: f"var(--series-{place})" for place, colour in enumerate(SERIES, 1)
}
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "legend.frameon": False,
    "legend.fontsize": 8,
} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
)
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def draw_svg(
    draw: Callable[[Axes], None], *, name: str, label: str, size_in: tuple[float, float]
) -> Markup:
    """Draw a chart as an SVG element.

    Parameters
    ----------
    draw : callable
        Draws on the axes that it is given.
    name : str
        Begins every id in the element; no other chart of the page has it.
    label : str
        What the chart shows, for those who do not see it.
    size_in : tuple of float
        Width and height in inches; the page scales them.

    Returns
    -------
    markupsafe.Markup
        The element, safe to stand in HTML as it is.
    """
    stream = io.StringIO()
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size_in, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(stream.getvalue())
    _simplify(root, name)
    width, height = (round(72 * side) for side in size_in)
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "width": f"{width}",
        "role": "img",
        "aria-label": label,
    }
    text = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(text)


def _simplify(root: ElementTree.Element, name: str) -> None:
    """Leave out namespaces, metadata and styles of the whole document; make ids the chart's own."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib = {key: _own(key, value, name) for key, value in attributes.items()}


def _own(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    return _REFERENCE.sub(rf"url(#{name}-\1)", value)
