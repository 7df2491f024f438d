"""Figures as bars: text for a terminal, SVG for a page.

The law of this file: pure; a record in, text out.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from algate.cli.bench.record import LESS, Figure, Record
from algate.cli.bench.spread import Summary

EIGHTHS = " ▏▎▍▌▋▊▉█"
COLOURS = {
    "algate-xdp": "#1b7f79", "algate-tc": "#48b5a3", "nft": "#d1603d", "route": "#8d99ae", "xdp-forward": "#adb5bd",
    "xdp-drop": "#dee2e6", "direct": "#ced4da",
}  # fmt: skip
BAR, GAP, LABEL, SPAN = 16, 22, 130, 460


def number(value: float) -> str:
    """Three significant digits: 1,234, 56.7, 0.89."""
    if value != value:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def bar(part: float, width: int) -> str:
    """`part` (0 to 1) of `width` columns, to an eighth of a column."""
    eighths = round(max(0.0, min(1.0, part)) * width * 8)
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")


def shown(record: Record) -> Iterator[tuple[str, Figure]]:
    """The figures that get a chart."""
    return ((key, figure) for key, figure in record.figures.items() if not figure.info)


def text_chart(record: Record, width: int = 40) -> Iterator[str]:
    """Lines of text: per figure a title, and under it a bar per gateway with median, least and most."""
    for key, figure in shown(record):
        rows = [(name, record.summary(key, name)) for name in record.gateways(key)]
        top = _top(rows)
        yield f"{figure.title}, {figure.unit} ({figure.better} is better)"
        for name, summary in rows:
            yield f"  {name:<12} {_row(summary, top, width)}"
        yield ""


def _row(summary: Summary, top: float, width: int) -> str:
    if not summary.usable:
        return f"refused: {summary.refusal}"
    drawn = bar(summary.median / top if top else 0, width)
    return f"{drawn:<{width}} {number(summary.median):>9}  {number(summary.least)} – {number(summary.most)}"


def _top(rows: list[tuple[str, Summary]]) -> float:
    return max((summary.median for _, summary in rows if summary.usable), default=0.0)


def svg_chart(record: Record, title: str) -> str:
    """All figures, one below the other."""
    parts: list[str] = []
    y = 40
    for key, figure in shown(record):
        rows = [(name, record.summary(key, name)) for name in record.gateways(key)]
        arrow = "less is better" if figure.better == LESS else "more is better"
        parts.append(f'<text x="10" y="{y}" class="t">{escape(figure.title)}, {escape(figure.unit)} ({arrow})</text>')
        y += 10
        top = _top(rows)
        for name, summary in rows:
            parts.append(_svg_row(name, summary, top, y))
            y += GAP
        y += 24
    style = "text{font:12px sans-serif}.t{font-weight:bold}.r{fill:#888}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y}" viewBox="0 0 760 {y}">'
    back = f'<style>{style}</style><rect width="760" height="{y}" fill="#fff"/>'
    return f'{head}{back}<text x="10" y="18" class="t">{escape(title)}</text>{"".join(parts)}</svg>\n'


def _svg_row(name: str, summary: Summary, top: float, y: int) -> str:
    label = f'<text x="{LABEL - 6}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
    if not summary.usable:
        return f'{label}<text x="{LABEL}" y="{y + 13}" class="r">refused: {escape(summary.refusal)}</text>'
    scale = SPAN / top if top else 0
    colour = COLOURS.get(name, "#6c757d")
    drawn = f'<rect x="{LABEL}" y="{y}" width="{max(1.0, summary.median * scale):.1f}" height="{BAR}" fill="{colour}"/>'
    low, high = LABEL + summary.least * scale, LABEL + min(summary.most * scale, SPAN * 1.1)
    whisker = f'<path d="M{low:.1f} {y + 8}H{high:.1f}" stroke="#333" stroke-width="1"/>'
    words = f"{number(summary.median)}  ({number(summary.least)} – {number(summary.most)})"
    place = max(LABEL + summary.median * scale, high) + 6
    return f'{label}{drawn}{whisker}<text x="{place:.1f}" y="{y + 13}">{escape(words)}</text>'
