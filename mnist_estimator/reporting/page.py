"""The HTML of a report's page: pure functions from plain data to HTML.

The page loads nothing: styles, plots and pictures are inside it, and it has no scripts. These
functions escape all text, such as names and paths; arguments called `html` or `svg` stay as they
are.
"""

from __future__ import annotations

import dataclasses
import html as html_module
import math
from collections.abc import Collection, Mapping, Sequence

_LONGEST_NAME = 60  # Characters: names beside plots and pictures have to fit a telephone.


@dataclasses.dataclass(frozen=True)
class Picture:
    """A small picture: `src` is a data URI; the lines of the caption stand below it."""

    src: str
    alt: str
    caption: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Legend:
    """The name of a curve, the number of its colour, and whether it is dashed."""

    name: str
    colour: int
    dashed: bool = False


def document(title: str, lead: str, sections: Sequence[str], *, columns: int = 1) -> str:
    """The whole page.

    Args:
      lead: a sentence below the title.
      sections: what `section` returns; empty ones are left out.
      columns: how many runs stand side by side. More than one make the page wider.
    """
    width = "wide" if columns > 1 else "single"
    body = "\n".join(section for section in sections if section)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>
{_STYLE}</style>
</head>
<body>
<main class="{width}">
<header>
<h1>{text(title)}</h1>
<p class="lead">{text(lead)}</p>
</header>
{body}
</main>
</body>
</html>
"""


def section(heading: str, names: Sequence[str], html: Sequence[str], intro: str = "") -> str:
    """A section with a column for each run, below the run's name; a single column has no name.

    Args:
      html: the columns' contents, as many as names.
    """
    headings = [f"<h3>{text(_shorten(name))}</h3>" if len(html) > 1 else "" for name in names]
    cells = "\n".join(
        f'<div class="card">{heading}\n{cell}\n</div>'
        for heading, cell in zip(headings, html, strict=True)
    )
    lead = f"<p>{text(intro)}</p>\n" if intro else ""
    return (
        f"<section>\n<h2>{text(heading)}</h2>\n{lead}"
        f'<div class="runs">\n{cells}\n</div>\n</section>'
    )


def text(value: object) -> str:
    """Escapes text for HTML, attributes included."""
    return html_module.escape(str(value), quote=True)


def note(line: str) -> str:
    """A paragraph with a remark, such as what is missing."""
    return f'<p class="note">{text(line)}</p>'


def subheading(name: str) -> str:
    """A heading within a run's column."""
    return f"<h4>{text(name)}</h4>"


def pair(*html: str) -> str:
    """Parts side by side where there is room."""
    return f'<div class="pair">{"".join(f"<div>{part}</div>" for part in html if part)}</div>'


def tiles(values: Mapping[str, str]) -> str:
    """A few figures, large."""
    parts = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values.items()
    )
    return f'<dl class="tiles">{parts}</dl>'


def facts(values: Mapping[str, str], differing: Collection[str] = ()) -> str:
    """Names and values, a line each; those in `differing` are marked."""
    rows = []
    for name, value in values.items():
        css = " class=differs" if name in differing else ""
        rows.append(f'<tr{css}><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>')
    return f'<table class="facts">{"".join(rows)}</table>'


def chart(svg: str, title: str, legend: Sequence[Legend] = ()) -> str:
    """A plot below its title and the names of its curves."""
    names = "".join(
        f'<li><span class="swatch{" dashed" if entry.dashed else ""}" '
        f'style="color:var(--c{entry.colour})"></span>{text(_shorten(entry.name))}</li>'
        for entry in legend
    )
    listed = f'<ul class="legend">{names}</ul>' if names else ""
    return f'<figure class="chart"><figcaption>{text(title)}{listed}</figcaption>{svg}</figure>'


def pictures(shown: Sequence[Picture], label: str, *, size: str = "medium") -> str:
    """Pictures in rows, each with its caption; `size` is small, medium or large."""
    parts = "".join(map(_figure, shown))
    return f'<div class="pictures {size}" role="group" aria-label="{text(label)}">{parts}</div>'


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, css: str = ""
) -> str:
    """A table in a box that scrolls; the first cell of each row is its heading."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "\n".join(
        f'<tr><th scope="row">{text(first)}</th>'
        + "".join(f"<td>{text(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return _scrolling(
        caption,
        f'<table class="{css}"><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
    )


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A confusion matrix as a table of shaded cells: rows are the true classes."""
    caption = "Rows: true class. Columns: prediction."
    head = "".join(f'<th scope="col">{text(_shorten(name, 12))}</th>' for name in names)
    body = "\n".join(
        f'<tr><th scope="row">{text(_shorten(names[number], 12))}</th>'
        f"{_confusion_row(number, row)}</tr>"
        for number, row in enumerate(matrix)
    )
    return _scrolling(
        "Confusion matrix",
        f'<table class="confusion"><caption>{caption}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>",
    )


def confusion_map(picture: Picture) -> str:
    """A confusion matrix of many classes as a picture."""
    caption = "Rows: true class. Columns: prediction."
    image = f'<img class="map" src="{text(picture.src)}" alt="{text(picture.alt)}">'
    return f"<figure><figcaption>{caption}</figcaption>{image}</figure>"


def _figure(picture: Picture) -> str:
    caption = ""
    if picture.caption:
        caption = f"<figcaption>{'<br>'.join(map(text, picture.caption))}</figcaption>"
    return f'<figure><img src="{text(picture.src)}" alt="{text(picture.alt)}">{caption}</figure>'


def _confusion_row(number: int, row: Sequence[int]) -> str:
    total = max(sum(row), 1)
    cells = []
    for other, count in enumerate(row):
        # The square root makes one mistake in a hundred examples visible.
        strength = math.sqrt(count / total)
        kind = "right" if other == number else "wrong"
        style = f' class="{kind}" style="--s:{strength:.2f}"' if count else ' class="none"'
        cells.append(f"<td{style}>{count}</td>")
    return "".join(cells)


def _scrolling(label: str, html: str) -> str:
    # With a tabindex the keyboard reaches the box, and can scroll it.
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{html}</div>'


def _shorten(name: str, longest: int = _LONGEST_NAME) -> str:
    # The end of a path says more than its beginning.
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


# Colours are custom properties. The plots refer to them, too.
_STYLE = """\
:root {
  color-scheme: light dark;
  --page: #fafaf8; --card: #ffffff; --ink: #1d2126; --soft: #5b636d; --line: #dfe1e4;
  --grid: #e6e8ea; --mark: #fff6d6; --right: 30 140 80; --wrong: 214 69 48;
  --c0: #0067a8; --c1: #c85000; --c2: #007f5f; --c3: #a3437f; --c4: #8a6d00; --c5: #5b54b8;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #15181b; --card: #1c2024; --ink: #e4e7ea; --soft: #a0a8b1; --line: #33393f;
    --grid: #2d3338; --mark: #3a3418; --right: 46 160 100; --wrong: 226 92 70;
    --c0: #64b5f0; --c1: #ff9650; --c2: #4ecca3; --c3: #ea8fc6; --c4: #e0c04a; --c5: #a9a3ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { margin: 0 auto; padding: 2rem 1.25rem 4rem; }
main.single { max-width: 62rem; }
main.wide { max-width: 82rem; }
main.wide .runs > :only-child .chart { max-width: 36rem; }
h1, h2, h3, h4 { line-height: 1.25; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0 0 .75rem; }
h4 { font-size: .875rem; margin: 1.25rem 0 .5rem; color: var(--soft); }
h4:first-child { margin-top: 0; }
p { margin: 0 0 .75rem; max-width: 46rem; overflow-wrap: anywhere; }
.lead, .note, figcaption, caption { color: var(--soft); }
.note { font-size: .875rem; }
.note:last-child { margin-bottom: 0; }
.runs, .pair { display: grid; gap: 1rem; align-items: start; }
.runs { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem; }
.runs > *, .pair > * { min-width: 0; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1.25rem;
}
figure { margin: 0; }
figcaption, caption { font-size: .8125rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: 1rem; }
.tiles, .tiles dd { margin: 0; }
.tiles dt { color: var(--soft); font-size: .8125rem; }
.tiles dd { font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
.chart { max-width: 32rem; }
.chart figcaption { display: flex; flex-wrap: wrap; gap: .125rem 1rem; margin-bottom: .375rem; }
.chart svg { display: block; width: 100%; height: auto; }
.chart svg * { stroke-linejoin: round; stroke-linecap: butt; }
.legend { display: flex; flex-wrap: wrap; gap: .125rem .875rem; list-style: none; }
.legend { margin: 0; padding: 0; overflow-wrap: anywhere; }
.swatch {
  display: inline-block; width: 1.25em; margin-right: .4em; vertical-align: middle;
  border-top: .15em solid;
}
.swatch.dashed { border-top-style: dashed; }
.scroll { overflow: auto; max-height: 42rem; }
.scroll:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { padding: .25rem .5rem; text-align: right; }
th { font-weight: 600; }
tbody tr { border-top: 1px solid var(--line); }
.rates { width: 100%; }
.rates th:first-child, .facts th, .facts td { text-align: left; }
.facts { width: 100%; }
.facts tr:first-child { border-top: 0; }
.facts th { width: 9rem; font-weight: 400; color: var(--soft); }
.facts th, .facts td { vertical-align: top; overflow-wrap: anywhere; }
.facts .differs { background: var(--mark); }
.confusion { font-size: .8125rem; }
.confusion td, .confusion th { padding: .25rem .375rem; min-width: 2rem; text-align: center; }
.confusion tbody tr { border: 0; }
.confusion tbody th { text-align: right; }
.confusion tbody td { border: 1px solid var(--line); }
.confusion .none { color: var(--soft); opacity: .55; }
.confusion .right { background: rgb(var(--right) / calc(.5 * var(--s))); }
.confusion .wrong { background: rgb(var(--wrong) / calc(.12 + .88 * var(--s))); }
.pictures { display: grid; gap: .75rem .5rem; --size: 4.5rem; }
.pictures { grid-template-columns: repeat(auto-fill, minmax(var(--size), 1fr)); }
.pictures.small { --size: 3rem; gap: .25rem; }
.pictures.large { --size: 5.75rem; }
.pictures.five { grid-template-columns: repeat(5, 1fr); gap: .25rem; max-width: 20rem; }
.pictures img {
  display: block; width: 100%; border: 1px solid var(--line); border-radius: 3px;
  image-rendering: pixelated;
}
.pictures figcaption { font-size: .75rem; line-height: 1.35; margin-top: .25rem; }
.pictures figcaption { text-align: center; overflow-wrap: anywhere; }
.map { display: block; width: 100%; max-width: 32rem; image-rendering: pixelated; }
@media (max-width: 30rem) {
  main { padding: 1.25rem .75rem 2.5rem; }
  .card { padding: .875rem; }
  .facts th, .facts td { display: block; width: auto; padding: .25rem .5rem .375rem; }
  .facts th { padding-bottom: 0; font-size: .8125rem; }
  .facts td { padding-top: 0; }
  .rates th, .rates td { padding: .25rem .25rem; }
  .rates { font-size: .8125rem; }
  .confusion { font-size: .6875rem; }
  .confusion td, .confusion th { padding: .25rem .125rem; min-width: 1.625rem; }
}
@media print {
  :root { color-scheme: light; --page: #ffffff; }
  html { font-size: 11px; }
  main.single, main.wide { max-width: none; padding: 0; }
  h1, h2, h3, h4, .swatch { break-after: avoid; }
  .chart, .pictures figure, tr, .tiles { break-inside: avoid; }
  .scroll { overflow: visible; max-height: none; }
  td, .swatch, img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
