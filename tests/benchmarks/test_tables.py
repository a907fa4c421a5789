"""Markdown, CSV and plots of fake contenders."""

import csv
import dataclasses
import io
import xml.etree.ElementTree as ET

import pytest

from benchmarks.comparison import plots, spreads, tables
from benchmarks.comparison.parts import Part, Value

PART = Part(
    name="fake",
    title="Fake speed",
    text="What it is.",
    values=(Value("speed", "Speed", "images/s"),),
    ours="ours",
    tasks=lambda options, number: [],
    shown=lambda name: name != "roof",
    more=lambda records: f"{len(records)} records.",
)


def record(contender, setting, number, **fields):
    key = {"part": "fake", "setting": setting, "contender": contender, "round": number}
    return key | {"versions": "v"} | fields


RECORDS = [
    record("roof", "batch 1", 0, values={"gflops": 1.0}),
    record("ours", "batch 1", 0, values={"speed": 3000.0}),
    record("<peer>", "batch 1", 0, values={"speed": 1000.0}),
    record("broken", "batch 1", 0, failed="no | memory"),
    record("ours", "batch 1", 1, values={"speed": 2000.0}),
    record("<peer>", "batch 1", 1, values={"speed": 1000.0}),
    record("ours", "batch 2", 0, values={"speed": 0.25}),
]


def test_a_section_has_the_table_the_plot_and_what_is_added():
    assert tables.markdown(PART, RECORDS).split("\n\n") == [
        "### Fake speed",
        "What it is.",
        "**Speed, images/s, median of 2 rounds**",
        "| | batch 1 | ratio | batch 2 | ratio |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| **ours** | 2,500 (2,000 to 3,000) | 1 | 0.25; *in 1 round* | 1 |\n"
        "| <peer> | 1,000 (1,000 to 1,000) | 2.50 (2.00 to 3.00) |  |  |\n"
        "| broken | *no / memory* |  |  |  |",
        "![Speed](results/fake_speed.svg)",
        "7 records.",
    ]


def test_a_cell_says_in_how_many_rounds_there_was_a_result():
    records = [
        record("ours", "batch 1", 0, values={"speed": 5.0}),
        record("ours", "batch 1", 1, failed="took more than 5 s"),
    ]
    text = tables.markdown(PART, records)
    assert "| **ours** | 5.00; *in 1 round, else took more than 5 s* | 1 |" in text


def test_a_cell_without_a_value_says_of_how_many_rounds():
    part = dataclasses.replace(PART, values=(Value("speed", "Speed", "images/s", absent="none"),))
    records = [
        *(record("ours", "batch 1", number, values={"speed": 5.0}) for number in (0, 1)),
        *(record("slow", "batch 1", number, values={"speed": None}) for number in (0, 1)),
        record("cut off", "batch 1", 0, values={"speed": None}),
    ]
    text = tables.markdown(part, records)
    assert "| slow | *none* |" in text
    assert "| cut off | *none*; *in 1 round* |" in text


def test_of_a_part_that_was_cut_off_fewer_rounds_are_said_and_pairs_alone_compared():
    records = [
        *(record("ours", "batch 1", number, values={"speed": 6.0}) for number in (0, 1)),
        *(record("peer", "batch 1", number, values={"speed": 3.0}) for number in (0, 1, 2)),
        record("late", "batch 1", 0, values={"speed": 2.0}),
    ]
    text = tables.markdown(PART, records)
    assert "median of 3 rounds**" in text
    assert "| **ours** | 6.00 (6.00 to 6.00); *in 2 rounds* | 1 |" in text
    assert "| peer | 3.00 (3.00 to 3.00) | 2.00 (2.00 to 2.00); *in 2 rounds* |" in text
    assert "| late | 2.00; *in 1 round* | 3.00 |" in text


def test_a_table_of_many_settings_has_a_row_for_each():
    part = dataclasses.replace(PART, settings_down=True)
    assert tables.markdown(part, RECORDS).split("\n\n")[3] == (
        "| | **ours** | ratio | <peer> | ratio | broken | ratio |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| batch 1 | 2,500 (2,000 to 3,000) | 1 | 1,000 (1,000 to 1,000) | 2.50 (2.00 to 3.00) "
        "| *no / memory* |  |\n"
        "| batch 2 | 0.25; *in 1 round* | 1 |  |  |  |  |"
    )


def test_csv_has_a_line_for_each_contender_in_each_setting():
    lines = list(csv.DictReader(io.StringIO(tables.csv_text(PART, RECORDS))))
    assert [(line["setting"], line["contender"]) for line in lines] == [
        ("batch 1", "ours"),
        ("batch 1", "<peer>"),
        ("batch 1", "broken"),
        ("batch 2", "ours"),
    ]
    peer, broken = lines[1], lines[2]
    assert (peer["middle"], peer["ratio_middle"], peer["rounds"]) == ("1000.0", "2.5", "2")
    assert (broken["middle"], broken["failed"]) == ("", "no | memory")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.6, "1,235"), (99.96, "100"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")],
)
def test_numbers_have_three_digits_or_more(value, text):
    assert tables.number(value) == text


def test_a_plot_has_bars_in_proportion_and_names_what_has_none():
    rows = spreads.rows([r for r in RECORDS if PART.shown(r["contender"])], PART.values[0], "ours")
    svg = ET.fromstring(plots.bars(PART, PART.values[0], rows))
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Speed, images/s (longer is better)", "<peer>", "no result", "2,500"} <= set(texts)
    bars = [
        float(element.get("width"))
        for element in svg.iter("{http://www.w3.org/2000/svg}rect")
        if element.get("height") == "14.0"
    ]
    ours, peer, *_ = bars
    assert ours / peer == pytest.approx(2.5, rel=0.01)
