"""Curves over the steps of training as SVG, for pages that need no other file."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

MAX_DRAWN = 400  # points of a curve


def plot(title: str, lines: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> str:
    """Lines over steps as SVG; the values on a logarithmic axis where all are positive."""
    width, height, margin, right = 720, 300, 80, 40
    values = np.concatenate([np.asarray(v, float) for _, v in lines.values()])
    log = bool((values > 0).all())
    scale = np.log10 if log else np.asarray
    low, high = float(scale(values.min())), float(scale(values.max()))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    last = max(max(steps) for steps, _ in lines.values())
    across = lambda step: margin + (width - margin - right) * step / last
    up = lambda value: 10 + (height - 50) * (high - value) / (high - low)
    parts, legend = [], []
    for i, (name, (steps, of_line)) in enumerate(lines.items()):
        chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MAX_DRAWN)).astype(int))
        scaled = scale(np.asarray(of_line, float))
        dots = " ".join(f"{across(steps[j]):.1f},{up(scaled[j]):.1f}" for j in chosen)
        color = f"hsl({360 * i / len(lines):.0f} 65% 42%)"
        label = html.escape(name)
        parts.append(
            f'<polyline stroke="{color}" points="{dots}"><title>{label}</title></polyline>'
        )
        if len(chosen) == 1:  # a line of one point is not seen
            x, y = dots.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>')
        legend.append(f'<span style="color:{color}">■ {label}</span>')
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        label = 10**value if log else value
        parts.append(
            f'<text x="{margin - 8}" y="{up(value) + 4:.1f}" text-anchor="end">{label:.3g}</text>'
            f'<text x="{across(share * last):.1f}" y="{height - 22}" text-anchor="middle">'
            f"{share * last:.0f}</text>"
        )
    axis = "loss, logarithmic" if log else "loss"
    parts.append(
        f'<text x="{width / 2}" y="{height - 4}" text-anchor="middle">step</text>'
        f'<text transform="translate(12 {height / 2}) rotate(-90)" text-anchor="middle">{axis}'
        f'</text><path d="M{margin} 10V{height - 40}H{width - right}" fill="none" '
        'stroke="#8b949e"/>'
    )
    return (
        f'<h3>{html.escape(title)}</h3><svg viewBox="0 0 {width} {height}" width="{width}">'
        f'{"".join(parts)}</svg><p class="legend">{"".join(legend)}</p>'
    )
