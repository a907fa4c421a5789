"""What the page of a report shows of runs and of their evaluations."""

from __future__ import annotations

import json
import re

import pytest
from support.datasets import CLASSES
from support.reports import NAMES, Content, make_page, write_data

from mnist_estimator import InputError
from mnist_estimator.reporting import panels
from mnist_estimator.scoring import evaluation


def test_the_page_shows_what_evaluate_finds(work, pages):
    metrics = json.loads((work / "runs/first/metrics.json").read_text())
    text = Content(pages["one"]).text
    assert f"Accuracy{metrics['accuracy']:.2%}" in text
    assert f"Loss{metrics['loss']:.4f}" in text
    assert f"Calibration error{metrics['calibration_error']:.4f}" in text
    rows = [f"{name}{rate:.4f}" for name, rate in zip(NAMES, metrics["precision"], strict=True)]
    assert [row for row in rows if row not in text] == []
    cells = re.findall(r'<td class="(?:right|wrong|none)"[^>]*>(\d+)</td>', pages["one"])
    assert list(map(int, cells)) == sum(metrics["confusion_matrix"], [])
    for fact in ("softmax", "0.1, cosine", "70 train, 12 validation, 23 test", "squares, 8x8x1"):
        assert fact in text


def test_curves_are_of_training_and_of_evaluation(work, pages):
    (drawn,) = re.findall("<h2>Curves</h2>(.*?)</section>", pages["one"], re.DOTALL)
    for metric in ("loss", "accuracy"):
        assert f'aria-label="{metric} over steps: training (batch) and evaluation"' in drawn
    assert "Evaluations compared" not in pages["one"]


def test_two_runs_stand_side_by_side(pages):
    content = Content(pages["two"])
    assert "<title>squares: first and second</title>" in pages["two"]
    headings = re.findall("<h3>(.*?)</h3>", pages["two"])
    assert headings.count("first") == headings.count("second") == 7
    (compared,) = re.findall("<h2>Evaluations compared</h2>(.*?)</section>", pages["two"], re.S)
    assert compared.count("<svg") == 2
    # Of the copy, the events are gone.
    assert "No training curve: runs/second holds no events of one." in content.text
    differing = re.findall(r'<tr class=differs><th scope="row">(.*?)</th>', pages["two"])
    assert set(differing) == {"Checkpoint"}


@pytest.mark.parametrize("which", ["one", "two"])
def test_the_page_needs_nothing_but_itself(pages, which):
    html, content = pages[which], Content(pages[which])
    assert "://" not in html
    urls = [value for name, value in content.attributes if name in ("src", "href", "xlink:href")]
    assert [url for url in urls if not url.startswith(("data:image/png;base64,", "#"))] == []
    assert [url for url in re.findall(r"url\((.*?)\)", html) if not url.startswith("#")] == []
    assert not {"script", "link", "iframe", "object"} & set(content.tags)


@pytest.mark.parametrize("which", ["one", "two"])
def test_the_page_is_well_formed(pages, which):
    html, content = pages[which], Content(pages[which])
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert len(set(content.ids)) == len(content.ids)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', html))
    assert used and used <= set(content.ids)
    assert content.tags.count("h1") == content.tags.count("title") == 1
    # Neither a colour that stands for a property nor one that follows no theme.
    plots = "".join(re.findall("<svg.*?</svg>", html, re.DOTALL))
    assert re.findall("#[0-9a-f]{6}", plots) == []


def test_what_comes_from_the_data_is_escaped(pages):
    for name in NAMES:
        assert name in Content(pages["one"]).text
    assert "<b>" not in pages["one"]


def test_without_a_test_split_the_page_is_of_the_validation_split_and_says_so(work, monkeypatch):
    # And, in the same go, what becomes of a confusion matrix of many classes.
    monkeypatch.setattr(panels, "_TABLE_CLASSES", CLASSES - 1)
    write_data(work / "untested", test=0)
    html = make_page(work, model_dir="runs/first", data_dir="untested", title="<mine>")
    assert "<h1>&lt;mine&gt;</h1>" in html
    assert html.count('<img class="map"') == 1 and "Most frequent confusions" in html
    text = Content(html).text
    assert "all 12 validation examples of squares. The data has no test split." in text
    with pytest.raises(InputError, match="no examples in the test split"):
        make_page(work, model_dir="runs/first", data_dir="untested", split="test")


def test_too_many_classes_leave_their_parts_out(work, monkeypatch):
    monkeypatch.setattr(evaluation, "make_scores", lambda manifest: None)
    text = Content(make_page(work, model_dir="runs/first")).text
    assert text.count("Left out: the data has more classes than can be looked through.") == 3
