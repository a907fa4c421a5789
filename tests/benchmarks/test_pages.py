"""The page: what is written replaces what was written before, and nothing else."""

from benchmarks.comparison import machine, pages, rounds
from benchmarks.comparison.parts import Options, Part, Task, Value
from benchmarks.comparison.results import Results


def test_a_section_replaces_the_one_before():
    page = f"# Results\n\nAbove.\n\n{pages.BEGIN}\n\nold\n\n{pages.END}\n\nBelow.\n"
    assert pages.merged(page, "new") == page.replace("old", "new")


def test_a_page_without_a_section_gets_one():
    once = pages.merged("# Results\n", "new")
    assert once == f"# Results\n\n{pages.BEGIN}\n\nnew\n\n{pages.END}\n"
    assert pages.merged(once, "newer") == once.replace("new", "newer")


def fake_part(name):
    return Part(
        name=name,
        title=f"{name.title()} speed",
        text="What it is.",
        values=(Value("x", "X", "1/s"),),
        ours="A",
        tasks=lambda options, number: [Task("A", "s", "torch", "common.py")],
    )


def test_files_are_written_for_what_is_measured(tmp_path):
    part = fake_part("fake")
    options = Options(data_dir=tmp_path, work_dir=tmp_path, rounds=2)
    results = Results(tmp_path / "results.jsonl")
    # Of another version of the package: it is not shown.
    results.add(rounds.plan(part, options)[0].key | {"versions": "old", "values": {"x": 9.0}})
    (tmp_path / "docs").mkdir()
    pages.write([part], options, results, tmp_path / "docs")
    assert not (tmp_path / "docs/results/fake.csv").exists()
    for entry in rounds.plan(part, options):
        day = f"2026-01-0{1 + entry.key['round']}"
        results.add(entry.key | {"date": day, "values": {"x": 5.0 + entry.key["round"]}})
    pages.write([part], options, results, tmp_path / "docs")
    page = (tmp_path / "docs/results.md").read_text()
    assert "| **A** | 5.50 (5.00 to 6.00) | 1 |" in page
    assert "- Measured on 2026-01-01, 2026-01-02\n" in page
    assert "torch==" in page and page.count("### Fake speed") == 1
    assert "fake,s,A,x,1/s,5.5" in (tmp_path / "docs/results/fake.csv").read_text()
    assert (tmp_path / "docs/results/fake_x.svg").read_text().startswith("<svg")


def test_a_part_without_results_of_this_machine_stays_as_it_was(tmp_path, monkeypatch):
    parts = [fake_part("first"), fake_part("second")]
    options = Options(data_dir=tmp_path, work_dir=tmp_path, rounds=1)
    results = Results(tmp_path / "results.jsonl")
    page = tmp_path / "docs/results.md"

    def write(*measured, value):
        for part in measured:
            for entry in rounds.plan(part, options):
                results.add(entry.key | {"date": "2026-01-01", "values": {"x": value}})
        pages.write(parts, options, results, page.parent)
        return page.read_text().split("<!-- Part")

    monkeypatch.setattr(machine, "processor", lambda: "one kind")
    assert len(write(value=0)) == 1
    before = write(*parts, value=5.0)
    monkeypatch.setattr(machine, "processor", lambda: "another kind")
    after = write(parts[0], value=7.0)
    assert "- Processor: one kind" in before[1] and "| **A** | 5.00 | 1 |" in before[1]
    assert "- Processor: another kind" in after[1] and "| **A** | 7.00 | 1 |" in after[1]
    assert (after[0], after[2]) == (before[0], before[2])
