"""The HTML of a page, piece by piece."""

from __future__ import annotations

import pytest
from support.reports import Content

from mnist_estimator.reporting import page


def test_titles_and_notes_are_escaped():
    given = page.document("<i>", "&", [page.note("</p>")])
    assert "<title>&lt;i&gt;</title>" in given and "&lt;/p&gt;" in given


@pytest.mark.parametrize(("columns", "width"), [(1, "single"), (2, "wide")])
def test_more_columns_make_a_wider_page(columns, width):
    assert f'<main class="{width}">' in page.document("t", "l", [], columns=columns)


def test_only_several_columns_have_names():
    one = page.section("Heading", ["a"], ["<p>x</p>"], "intro")
    assert "<h3>" not in one and "<p>intro</p>" in one and "<p>x</p>" in one
    assert page.section("Heading", ["a", "b"], ["", ""]).count("<h3>") == 2


def test_a_long_name_is_shortened_from_the_left():
    html = page.section("Heading", ["x" * 99 + "/end", "b"], ["", ""])
    (name, _) = html.partition("<h3>")[2].split("</h3>", 1)
    assert name.startswith("…") and name.endswith("/end") and len(name) == 60


def test_what_differs_is_marked():
    html = page.facts({"Seed": "1", "Model": "a<b"}, {"Seed"})
    assert html.count("class=differs") == 1 and "a&lt;b" in html
    assert html.index("class=differs") < html.index("Seed") < html.index("Model")


def test_a_picture_without_a_caption_has_none():
    shown = [page.Picture("data:1", "one"), page.Picture("data:2", "two", ("a", "b<"))]
    html = page.pictures(shown, "Label", size="small")
    assert html.count("<img") == 2 and html.count("<figcaption>") == 1
    assert "<figcaption>a<br>b&lt;</figcaption>" in html


def test_a_table_has_a_heading_for_each_row():
    html = page.table("Caption", ("name", "value"), [("a", "1"), ("b", "2")])
    assert html.count('<th scope="row">') == 2 and html.count("<td>") == 2
    assert 'aria-label="Caption"' in html and 'tabindex="0"' in html


def test_a_confusion_matrix_is_green_on_the_diagonal_and_empty_where_there_is_nothing():
    html = page.confusion([[8, 0], [1, 3]], ["a", "b"])
    assert html.count('class="right"') == 2 and html.count('class="wrong"') == 1
    assert '<td class="none">0</td>' in html and '<td class="wrong" style="--s:0.50">1</td>' in html
    Content(html)
