"""The page: what is written replaces what was written before, and nothing else."""

from benchmarks.comparison import pages, rounds
from benchmarks.comparison.parts import Options, Part, Task, Value
from benchmarks.comparison.results import Results


def test_a_section_replaces_the_one_before():
    page = f"# Results\n\nAbove.\n\n{pages.BEGIN}\n\nold\n\n{pages.END}\n\nBelow.\n"
    assert pages.merged(page, "new") == page.replace("old", "new")


def test_a_page_without_a_section_gets_one():
    once = pages.merged("# Results\n", "new")
    assert once == f"# Results\n\n{pages.BEGIN}\n\nnew\n\n{pages.END}\n"
    assert pages.merged(once, "newer") == once.replace("new", "newer")


def test_files_are_written_for_what_is_measured(tmp_path):
    part = Part(
        name="fake",
        title="Fake speed",
        text="What it is.",
        values=(Value("x", "X", "1/s"),),
        ours="A",
        tasks=lambda options, number: [Task("A", "s", "torch", "common.py")],
    )
    options = Options(data_dir=tmp_path, work_dir=tmp_path, rounds=2)
    results = Results(tmp_path / "results.jsonl")
    # Of another version of the package: it is not shown.
    results.add(rounds.plan(part, options)[0].key | {"versions": "old", "values": {"x": 9.0}})
    (tmp_path / "docs").mkdir()
    pages.write([part], options, results, tmp_path / "docs")
    assert not (tmp_path / "docs/results/fake.csv").exists()
    for entry in rounds.plan(part, options):
        results.add(entry.key | {"values": {"x": 5.0 + entry.key["round"]}})
    pages.write([part], options, results, tmp_path / "docs")
    page = (tmp_path / "docs/results.md").read_text()
    assert "| **A** | 5.50 (5.00 to 6.00) | 1 |" in page
    assert "torch==" in page and page.count("### Fake speed") == 1
    assert "fake,s,A,x,1/s,5.5" in (tmp_path / "docs/results/fake.csv").read_text()
    assert (tmp_path / "docs/results/fake_x.svg").read_text().startswith("<svg")
