"""Rounds: all take turns, a kill loses one measurement, a failure is a result."""

import pytest

from benchmarks.comparison import children, rounds
from benchmarks.comparison.parts import BFLOAT16, Options, Part, Task, Value
from benchmarks.comparison.results import Results


def task(name, **fields):
    return Task(name, "batch 1", "tensorflow", "fake.py", **fields)


def part(*tasks, name="fake", count=2):
    return Part(
        name=name,
        title="Fake",
        text="",
        values=(Value("x", "X", "1/s"),),
        ours="A",
        tasks=lambda options, number: tasks,
        rounds=lambda options: count,
    )


def plan(options, *parts):
    return [entry for one in parts for entry in rounds.plan(one, options, lambda task, _: "v")]


@pytest.fixture
def options(tmp_path):
    return Options(data_dir=tmp_path, work_dir=tmp_path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


def run(planned, options, path, measure, said=None):
    say = (lambda line: None) if said is None else said.append
    rounds.run(planned, options, Results(path), measure=measure, say=say)


def test_contenders_take_turns(options, path):
    seen = []

    def measure(task, options):
        seen.append(task.contender)
        return {"x": 1.0}

    run(plan(options, part(task("A"), task("B"), count=3)), options, path, measure)
    assert "".join(seen) == "ABABAB"


def test_a_killed_run_repeats_only_what_is_missing(options, path):
    seen = []

    def measure(task, options):
        seen.append(task.contender)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return {"x": float(len(seen))}

    planned = plan(options, part(task("A"), task("B")))
    with pytest.raises(KeyboardInterrupt):
        run(planned, options, path, measure)
    run(planned, options, path, measure)
    # The third was killed and is measured again; the first two are not.
    assert "".join(seen) == "ABAAB"
    assert [record["values"]["x"] for record in Results(path).records] == [1, 2, 4, 5]
    run(planned, options, path, measure)
    assert len(seen) == 5


def test_a_failure_is_recorded_with_its_reason(options, path):
    def measure(task, options):
        if task.contender == "B":
            raise children.ChildError("took more than 5 s")
        return {"x": 1.0}

    run(plan(options, part(task("A"), task("B"), count=1)), options, path, measure)
    first, second = Results(path).records
    assert first["values"] == {"x": 1.0} and "failed" not in first
    assert second["failed"] == "took more than 5 s"


def test_what_the_processor_lacks_is_not_run(options, path, monkeypatch):
    monkeypatch.setattr(rounds.machine, "has", lambda needed: needed != BFLOAT16)
    seen = []
    planned = plan(options, part(task("A", needs=BFLOAT16), task("B"), count=1))
    run(planned, options, path, lambda task, _: seen.append(task.contender) or {"x": 1})
    assert seen == ["B"]
    assert Results(path).records[0]["failed"] == "this processor has no bfloat16"


def test_progress_says_what_is_left(options, path):
    said = []
    now = iter(range(0, 100_000, 600))  # Each look at the clock is ten minutes later.
    rounds.run(
        plan(options, part(task("A"), count=3)),
        options,
        Results(path),
        measure=lambda task, _: {"x": 1234.5},
        say=said.append,
        clock=lambda: next(now),
    )
    assert said == [
        "3 measurements, 0 of them are there already",
        "[1/3] fake, batch 1: A, round 0: x 1,234.5; 0 h 20 min left",
        "[2/3] fake, batch 1: A, round 1: x 1,234.5; 0 h 10 min left",
        "[3/3] fake, batch 1: A, round 2: x 1,234.5; 0 h 00 min left",
    ]


def test_a_line_says_which_value_there_is_not():
    key = {"part": "accuracy", "setting": "s", "contender": "A", "round": 2}
    record = key | {"values": {"early": 12.5, "late": None, "scores": [[1, 2, 3]]}}
    assert rounds.describe(record) == "accuracy, s: A, round 2: early 12.5, late none"


def test_what_all_programs_get_is_of_the_version(options, monkeypatch):
    one = Task("A", "s", "tensorflow", "roof.py")
    before = rounds.versions(one, options)
    monkeypatch.setitem(children.SETTINGS, "TF_ENABLE_ONEDNN_OPTS", "0")
    assert rounds.versions(one, options) != before


def test_versions_follow_from_arguments_cores_and_haste(tmp_path, options):
    one = Task("A", "s", "tensorflow", "roof.py", ("--seconds=1",))
    other = Task("A", "s", "tensorflow", "roof.py", ("--seconds=2",))
    elsewhere = Task("A", "s", "torch", "roof.py", ("--seconds=1",))
    fewer = Options(data_dir=tmp_path, work_dir=tmp_path, threads=1)
    quick = Options(data_dir=tmp_path, work_dir=tmp_path, quick=True)
    found = {rounds.versions(t, options) for t in (one, other, elsewhere)}
    assert len(found | {rounds.versions(one, fewer), rounds.versions(one, quick)}) == 5
    assert rounds.versions(one, options) in found
