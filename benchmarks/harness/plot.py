"""How costs grow: lines on logarithmic axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OURS, _OTHERS = "#1f5fbf", ("#d1662b", "#5a7d2a", "#8a5a9e")


@dataclass(frozen=True)
class Line:
    """
    What one way costs.

    :param name: of the way; this provider's comes first
    :param points: pairs of a size and the cost at that size
    :param is_measured: whether that is what was measured, rather than what follows from it
    """

    name: str
    points: Sequence[tuple[float, float]]
    is_measured: bool = True


@dataclass(frozen=True)
class Plot:
    """
    A picture of what several ways cost.

    :param name: of the file, without its ending
    :param title: what it shows
    :param across: what grows
    :param up: what it costs
    :param lines: the ways
    :param limits: costs that cannot be exceeded, by what says so
    """

    name: str
    title: str
    across: str
    up: str
    lines: Sequence[Line]
    limits: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Draw it; return the file."""
        # Only who draws needs it.
        import matplotlib as mpl

        mpl.use("svg")
        # The same points give the same file.
        mpl.rcParams.update({"svg.hashsalt": self.name, "svg.fonttype": "none", "font.family": "sans-serif"})
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for color, line in zip((_OURS, *_OTHERS), self.lines, strict=False):
            style = "o-" if line.is_measured else ":"
            axes.plot(*zip(*line.points, strict=True), style, markersize=4, color=color, label=line.name)
        for name, limit in self.limits.items():
            axes.axhline(limit, color="#b00020", linestyle="--", linewidth=1, label=name)
        axes.set(title=self.title, xlabel=self.across, ylabel=self.up, xscale="log", yscale="log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,.5g}")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(facecolor="white", edgecolor="none", framealpha=0.9)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.svg"
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
        pyplot.close(figure)
        return path
