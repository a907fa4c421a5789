"""The parts about data and starts: what they plan, and that what is too large to stay goes."""

import importlib

import pytest

from benchmarks import run
from benchmarks.comparison.parts import Options, Part


def part_of(name):
    return importlib.import_module(f"benchmarks.comparison.{name}").PART


@pytest.fixture
def options(tmp_path):
    return Options(data_dir=tmp_path, work_dir=tmp_path / "work")


def test_the_large_file_is_for_the_first_round_alone(options):
    def large(number, **changes):
        changed = Options(**vars(options) | changes)
        tasks = part_of("prepare").tasks(changed, number)
        return [task.arguments[0] for task in tasks if "images" in task.setting]

    assert large(0) == ["--images=8100000"] * 2
    assert large(0, quick=True) == ["--images=200000"] * 2
    assert large(1) == []


def test_only_the_large_files_are_removed(options):
    for name in ("large_8100000", "large_200000", "mnist"):
        (options.work_dir / name).mkdir(parents=True)
        (options.work_dir / name / "images").write_bytes(b"x")
    part_of("prepare").clean(options)
    assert [path.name for path in options.work_dir.iterdir()] == ["mnist"]


def test_the_starts_are_also_compared_with_that_of_python():
    part = part_of("start_up")
    names = (part.ours, "python -c pass", "train --help")
    records = [
        {"setting": "s", "contender": name, "round": 0, "values": {"seconds": x, "cpu_seconds": y}}
        for name, x, y in zip(names, (4.0, 0.02, 0.3), (5.0, 0.02, 0.2), strict=True)
    ]
    assert "| train --help | 15.0 | 10.0 |" in part.more(records)


@pytest.mark.parametrize(("flags", "cleaned"), [([], 1), (["--keep"], 0)])
def test_a_run_that_breaks_off_cleans_up_too(monkeypatch, tmp_path, flags, cleaned):
    found = []

    def broken(options):
        raise KeyboardInterrupt

    part = Part("input", "t", "", (), "A", lambda *_: [], prepare=broken, clean=found.append)
    monkeypatch.setattr(run, "part", lambda name: part)
    place = [f"--data_dir={tmp_path}", f"--work_dir={tmp_path}/work", "--parts=input"]
    with pytest.raises(KeyboardInterrupt):
        run.main([*place, *flags])
    assert len(found) == cleaned
