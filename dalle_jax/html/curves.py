"""Curves over training steps as SVG inside a page."""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

MAX_DRAWN = 400  # points of a curve
GREY = "#8b949e"  # is seen on a light page and on a dark one
STYLE = {
    **{"svg.fonttype": "none", "svg.hashsalt": "dalle_jax", "font.size": 9},
    **{"figure.facecolor": "none", "axes.facecolor": "none"},
    **{"axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY},
    **{"xtick.labelcolor": "black", "ytick.labelcolor": "black"},
    **{"axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.2},
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def plot(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> tuple[Markup, list[str]]:
    """Losses over steps as SVG, and the curves' colours as "#1f77b4".

    The axis is logarithmic where all losses are positive; NaN and infinity are gaps. A curve under
    the mouse shows its name. Equal curves give equal bytes.

    Args:
        curves: steps and losses by name; of each at most `MAX_DRAWN` points are plotted.
    """
    shades = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(curves)))
    colors = [to_hex(f"C{i}" if len(curves) <= 10 else shades[i]) for i in range(len(curves))]
    every = np.concatenate([np.asarray(losses, float) for _, losses in curves.values()])
    finite = every[np.isfinite(every)]
    file = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 2.4), layout="constrained")
        axes = figure.add_subplot(xlabel="step", ylabel="loss")
        for i, (steps, losses) in enumerate(curves.values()):
            chosen = np.linspace(0, len(steps) - 1, min(len(steps), MAX_DRAWN)).astype(int)
            x, y = np.asarray(steps)[chosen], np.asarray(losses, float)[chosen]
            marker = "o" if len(chosen) == 1 else None  # a line of one point is not seen
            axes.plot(x, y, color=colors[i], marker=marker, gid=f"curve {i}")
        if finite.size and finite.min() > 0:
            low, high = finite.min(), finite.max()
            ticks = sorted({low, np.sqrt(low * high), high})
            axes.set(yscale="log", ylabel="loss, logarithmic")
            axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_xlim(left=0)
        FigureCanvasSVG(figure).print_svg(file, metadata=NO_METADATA)
    # HTML needs no head of an XML file and no name spaces; ids would recur on a page.
    svg = re.sub(r"^.*?(?=<svg)", "", file.getvalue(), flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| id="[\w.]+_\d+"', "", svg)
    for i, name in enumerate(curves):
        svg = svg.replace(f'<g id="curve {i}">', f"<g><title>{escape(name)}</title>")
    return Markup(svg), colors
