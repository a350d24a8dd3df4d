"""A report as one self-contained HTML file: text, tables and pictures, nothing from elsewhere.

`write_html` knows only sections; `training_sections` makes those of a training run from its metrics
and comparisons.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from jmlip.core.checkpoint import whole_file
from jmlip.training import plots

COLUMNS: Mapping[str, str] = {
    "n_structures": "structures",
    "energy_mae_meV": "energy MAE (meV)",
    "energy_rmse_meV": "energy RMSE (meV)",
    "energy_per_atom_rmse_meV": "energy RMSE (meV/atom)",
    "forces_mae_meV_A": "force MAE (meV/Å)",
    "forces_rmse_meV_A": "force RMSE (meV/Å)",
    "stress_rmse_meV_A3": "stress RMSE (meV/Å³)",
}
"""The errors in the table, those for which there are labels, and what the columns are called."""


class Table(NamedTuple):
    """Header and rows; cells are text, the first column is a name and the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A heading with, in this order, a paragraph, tables, and pictures with their captions."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[Figure, str]] = ()


def write_html(path: str | Path, *, title: str, subtitle: str, sections: Sequence[Section]) -> None:
    """Write the report; it appears whole or not at all.

    Args:
        path: the HTML file.
        title: heading of the page, plain text like all text here.
        subtitle: one line below it.
        sections: in the order of the page.

    Raises:
        JmlipError: the place cannot be written.
    """
    body = "\n".join(_section(section) for section in sections)
    page = _PAGE.format(
        title=html.escape(title), subtitle=html.escape(subtitle), body=body, style=_STYLE
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def training_sections(
    *,
    summary: Mapping[str, str],
    panels: Sequence[plots.Panel],
    best_epoch: int | None,
    comparisons: Sequence[plots.Comparison],
    environment: Mapping[str, str],
) -> list[Section]:
    """Sections of a training run: summary, errors, learning curves, parity, where the errors are.

    Args:
        summary: facts in words: data, model, parameters, time, best epoch.
        panels: what the learning curves show; empty panels are left out.
        best_epoch: the epoch whose parameters were kept.
        comparisons: training, validation and test sets, in this order.
        environment: versions and hardware.
    """
    curves = [panel for panel in panels if any(len(x) for x, _ in panel.curves.values())]
    sections = [
        Section("Summary", tables=[_pairs(summary)]),
        Section("Errors", tables=[_error_table(comparisons)]),
    ]
    if curves:
        figure = plots.learning_curves(curves, best_epoch=best_epoch)
        caption = "Against the epoch; the dotted line marks the epoch whose parameters were kept."
        sections.append(Section("Learning curves", pictures=[(figure, caption)]))
    parity = plots.parity(comparisons)
    caption = "Above prediction, below error, both against the label."
    return [
        *sections,
        Section("Parity", pictures=[(parity, caption)]),
        Section("Where the errors are", pictures=_breakdown(comparisons)),
        Section("Environment", tables=[_pairs(environment)]),
    ]


def _breakdown(comparisons: Sequence[plots.Comparison]) -> list[tuple[Figure, str]]:
    pictures = []
    if any(len(data.result.species) for data in comparisons):
        picture = plots.errors_by_species(comparisons)
        pictures.append((picture, "Force components on atoms of each element."))
    if any(len(data.result.n_atoms) for data in comparisons):
        picture = plots.errors_by_size(comparisons)
        pictures.append((picture, "Energy per atom in structures of each size."))
    return pictures


def _error_table(comparisons: Sequence[plots.Comparison]) -> Table:
    metrics = {data.name: data.result.metrics for data in comparisons}
    columns = [name for name in COLUMNS if any(name in found for found in metrics.values())]
    rows = [
        (name, *(_number(found.get(column)) for column in columns))
        for name, found in metrics.items()
    ]
    return Table(("", *(COLUMNS[column] for column in columns)), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:d}" if isinstance(value, int) else f"{value:.3g}"


def _pairs(values: Mapping[str, str]) -> Table:
    return Table((), [(name, str(value)) for name, value in values.items()])


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    parts += [_table(table) for table in section.tables]
    parts += [_picture(figure, caption) for figure, caption in section.pictures]
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in table.rows]
    kind = "numbers" if table.header else "facts"
    lines = ([f"<thead><tr>{head}</tr></thead>"] if head else []) + [
        f"<tr>{row}</tr>" for row in rows
    ]
    return f'<div class="scroll"><table class="{kind}">\n' + "\n".join(lines) + "\n</table></div>"


def _picture(figure: Figure, caption: str) -> str:
    buffer = io.BytesIO()
    # a picture of its own, not inline markup: the identifiers in two SVGs would clash
    with matplotlib.rc_context({"svg.hashsalt": "jmlip"}):  # the same bytes each time
        figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = figure.get_size_inches()[0] * 88
    text = html.escape(caption)
    return (
        f'<figure><img style="width:{width:.0f}px" alt="{text}" '
        f'src="data:image/svg+xml;base64,{data}"><figcaption>{text}</figcaption></figure>'
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{subtitle}</p>
</header>
{body}
</body>
</html>
"""

_STYLE = """
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  color: #22272e; background: #fff; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
header { border-bottom: 2px solid #1b7f8c; margin-bottom: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; letter-spacing: -0.01em; }
header p { margin: 0.2rem 0 0.8rem; color: #57606a; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; }
p { max-width: 44rem; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
td, th { padding: 0.28rem 0.9rem 0.28rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e9edf1; }
th { font-weight: 600; color: #57606a; }
.numbers td:first-child { white-space: nowrap; }
.numbers td + td, .numbers th + th { text-align: right; padding-left: 0.9rem; }
.facts td:first-child { color: #57606a; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin-bottom: 0.8rem; }
figure { margin: 0.6rem 0 1.4rem; }
img { max-width: 100%; height: auto; }
figcaption { color: #57606a; font-size: 0.88rem; }
"""
