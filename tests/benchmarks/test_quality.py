"""Studies of recipes: what is trained, what goes on after a kill, and what the numbers say."""

from __future__ import annotations

import hashlib
import json

import pytest

from benchmarks import quality

RECIPE = quality.Recipe("best", ("--model=cnn", "--rotate=10", "--ema_decay=0.999"))


def data_of(folder, digest="5a" * 32, held_out=0):
    """Data with a manifest of this digest in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"sha256": digest}))
    return quality.Data(str(folder), held_out)


@pytest.fixture
def data(tmp_path):
    return data_of(tmp_path / "data")


def row(recipe=RECIPE, *, seed=0, wrong=(), on="test", data="5a" * 6, **fields):
    accuracy = 1 - len(wrong) / 100
    settled = {"loss": 0.5, "steps": 7, "seconds": 1.5} | fields
    return quality.Row(
        recipe.name, on, data, recipe.digest, seed, 100, accuracy, **settled, wrong=tuple(wrong)
    )


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Returns a function that runs a study on a recipe in a file, with a stand-in for training."""
    file = tmp_path / "best.flags"
    file.write_text("# A comment\n--model=cnn\n--rotate=10\n--model_dir=x\n--seed=3\n")
    trained = []

    def train(recipe, seed, data, work_dir):
        on = {0: "test", 5000: "validation", 400: "400 validation"}[data.held_out]
        trained.append((recipe.name, recipe.flags, seed, on))
        return row(recipe, seed=seed, on=data.on, data=data.digest, wrong=range(seed))

    def prepare(source_dir, held_out, work_dir):
        return data_of(tmp_path / "data", hashlib.sha256(source_dir.encode()).hexdigest(), held_out)

    monkeypatch.setattr(quality, "train", train)
    monkeypatch.setattr(quality, "prepare", prepare)

    def run(*options):
        quality.main([str(file), "--source_dir=there", f"--csv={tmp_path}/found/q.csv", *options])
        done = trained.copy()
        trained.clear()
        return done

    return run


def test_a_study_trains_each_seed_once_and_goes_on_where_it_was(study, capsys):
    flags = ("--model=cnn", "--rotate=10")
    assert study("--seeds=1") == [("best", flags, 0, "test")]
    assert study("--seeds=3") == [("best", flags, 1, "test"), ("best", flags, 2, "test")]
    assert study("--seeds=3") == []
    assert "| best | 3 | 0.99000 | 0.01000 | 0.9800 | 1.0000 |  |  |" in capsys.readouterr().out
    assert study("--seeds=1", "--on=validation") == [("best", flags, 0, "validation")]


def test_how_many_training_images_are_set_apart_can_be_said(study, capsys):
    options = ("--seeds=1", "--validation_split=400")
    assert [of for *_, of in study(*options, "--on=validation")] == ["400 validation"]
    assert [of for *_, of in study(*options)] == ["test"]
    with pytest.raises(SystemExit):
        study("--validation_split=0")
    assert "--validation_split: found '0', expected 1 or more" in capsys.readouterr().err


def test_an_ingredient_is_left_out_seed_by_seed(study):
    study("--seeds=1")
    assert study("--seeds=2", "--without=rotate") == [
        ("best without rotate", ("--model=cnn",), 0, "test"),
        ("best", ("--model=cnn", "--rotate=10"), 1, "test"),
        ("best without rotate", ("--model=cnn",), 1, "test"),
    ]
    assert study("--seeds=1", "--without=rotate,model+rotate") == [
        ("best without model+rotate", (), 0, "test"),
    ]
    with pytest.raises(SystemExit, match="--without: best has no --erase"):
        study("--without=rotate+erase")


def test_rows_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "quality.csv"
    written = [row(wrong=(3, 5, 99)), row(seed=1), row(seed=2, on="validation", wrong=(1,))]
    for each in written:
        quality.add_row(path, each)
    assert quality.read_rows(path) == written
    assert [file.name for file in path.parent.iterdir()] == ["quality.csv"]


def test_other_data_are_trained_on_anew(study):
    study("--seeds=1")
    assert len(study("--seeds=1", "--source_dir=elsewhere")) == 1
    assert study("--seeds=1", "--source_dir=elsewhere") == study("--seeds=1") == []


def test_rows_without_data_are_of_others(tmp_path, data):
    path = tmp_path / "quality.csv"
    quality.add_row(path, row())
    path.write_text(path.read_text().replace("data,", "").replace("5a" * 6 + ",", ""))
    assert [each.data for each in quality.read_rows(path)] == [""]
    assert RECIPE.name not in quality.table([RECIPE], quality.read_rows(path), data)


def test_rows_of_other_flags_or_data_are_others(data):
    changed = quality.Recipe("best", ("--model=cnn", "--rotate=12", "--ema_decay=0.999"))
    rows = [row(), row(changed, seed=1), row(seed=2, data="5b" * 6), row(seed=3, on="validation")]
    assert "| best | 1 |" in quality.table([RECIPE], rows, data)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("--model=cnn\n-rotate=3\n", "line 2: found '-rotate=3', expected --flag=value"),
        ("model=cnn\n", "line 1: found 'model=cnn', expected --flag=value"),
        ("--flagfile=other.flags", "line 1: found --flagfile, expected its flags"),
        (b"\xff", "'utf-8' codec can't decode"),
    ],
)
def test_a_recipe_that_would_be_read_in_part_is_refused(tmp_path, text, line):
    file = tmp_path / "mine.flags"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit, match=f"quality.py: .*mine.flags.*{line}"):
        quality.main([str(file), "--source_dir=there"])
    with pytest.raises(SystemExit, match=r"none.flags: .*No such file"):
        quality.main([str(tmp_path / "none.flags"), "--source_dir=there"])


def test_two_recipes_of_one_name_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.flags").write_text(f"--model={name}")
    files = [str(tmp_path / name / "same.flags") for name in ("a", "b")]
    with pytest.raises(SystemExit, match="found two recipes same, expected a name for each"):
        quality.main([*files, "--source_dir=there"])


@pytest.mark.parametrize(
    ("first_only", "second_only", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (10, 2, 0.0386), (2, 10, 0.0386), (1, 0, 1.0), (6, 0, 0.03125)],
)
def test_mcnemar(first_only, second_only, p):
    assert quality.mcnemar(first_only, second_only) == pytest.approx(p, abs=5e-5)


def test_an_interval_is_student_s():
    low, high = quality.interval([0.1, 0.2, 0.3])
    assert (low, high) == pytest.approx((0.2 - 0.24842, 0.2 + 0.24842), abs=1e-4)
    half = 1.96 * (25 / 99) ** 0.5 / 10  # Of 100 differences of 0 and 1.
    assert quality.interval([0.0, 1.0] * 50) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)


def test_differences_are_of_seeds_that_both_have(data):
    other = quality.Recipe("other", ("--model=dnn",))
    rows = [row(seed=0, wrong=(1, 2)), row(seed=1, wrong=(3,)), row(seed=2)]
    rows += [row(other, seed=0, wrong=(1, 4, 5)), row(other, seed=1, wrong=(3, 6, 7))]
    last = quality.table([RECIPE, other], rows, data).splitlines()[-1]
    # Only the first: 2; only the other: 4, 5, 6, 7. Twice (1 + 5) of 32.
    assert last.startswith("| other | 2 | 0.97000 | 0.00000 | 0.9700 | 0.9700 | -0.01500 (")
    assert last.endswith("| 0.38 |")


def test_a_row_that_a_kill_cut_off_is_trained_again(tmp_path):
    path = tmp_path / "quality.csv"
    quality.add_row(path, row(wrong=(3, 5)))
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b",")])
    assert quality.read_rows(path) == []
