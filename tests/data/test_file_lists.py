from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import file_lists


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


def _expand(value: str, **options) -> list[str]:
    return file_lists.expand("train_csv", value, **options)


def test_a_lone_name_is_left_to_whoever_opens_it(folder: Path):
    assert _expand("nope.csv", folders=True) == ["nope.csv"]


def test_a_list_keeps_its_order(folder: Path):
    _put("b.csv", "a.csv", "10.csv", "home/x.csv")
    assert _expand("b.csv,a.csv, 10.csv") == ["b.csv", "a.csv", "10.csv"]


def test_each_name_of_a_list_is_read_as_a_path(folder: Path, monkeypatch: pytest.MonkeyPatch):
    _put("b.csv", "home/x.csv")
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert _expand("b.csv,~/x.csv") == ["b.csv", str(folder / "home/x.csv")]
    with pytest.raises(
        InputError, match=r"--train_csv: \$HOME/x.csv: found \$HOME, which no shell"
    ):
        _expand("b.csv,$HOME/x.csv")


def test_names_in_the_order_of_their_numbers(folder: Path):
    _put(*(f"p/part-{number}.csv" for number in (10, 9, 100, 1)), "p/part-b", "p/part-a")
    wanted = ["part-1.csv", "part-9.csv", "part-10.csv", "part-100.csv", "part-a", "part-b"]
    assert _expand("p/part-*") == [f"p/{name}" for name in wanted] == _expand("p", folders=True)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("out/*.csv", ["out/a1.csv", "out/a2.csv"]),
        ("out/a?.csv", ["out/a1.csv", "out/a2.csv"]),
        ("out/a[2-9].csv", ["out/a2.csv"]),
        ("out/a[!1].csv", ["out/a2.csv"]),
        ("out/a[1,2].csv", ["out/a1.csv", "out/a2.csv"]),
        ("*/a1.csv", ["in/a1.csv", "out/a1.csv"]),
        ("i*/a1.csv,o*/a2.csv", ["in/a1.csv", "out/a2.csv"]),
        ("*ut/_a3.csv", ["out/_a3.csv"]),
        ("out/_a?.csv", ["out/_a3.csv"]),
    ],
)
def test_patterns(folder: Path, pattern: str, names: list[str]):
    _put("out/a1.csv", "out/a2.csv", "out/_a3.csv", "in/a1.csv", "out/a1.txt", "out/.a4.csv")
    assert _expand(pattern) == names
    absolute = f"{folder}/{pattern}".replace("csv,", f"csv,{folder}/")
    assert _expand(absolute) == [f"{folder}/{name}" for name in names]


@pytest.mark.parametrize("name", ["a*.csv", "a[1].csv", "a?.csv", "a,b.csv", "a,b*,c.csv"])
def test_a_name_that_exists_is_literal(folder: Path, name: str):
    _put(name, "a1.csv", "aXb.csv", "b.csv")
    assert _expand(name) == [name]
    assert _expand(f"b.csv,{name},a1.csv") == ["b.csv", name, "a1.csv"]


def test_a_folder_that_exists_is_literal_in_a_pattern(folder: Path):
    _put("run[1]/x.csv", "run1/x.csv", "run1/y.csv")
    assert _expand("run[1]/*.csv") == ["run[1]/x.csv"]


def test_what_others_lay_beside_the_data_is_left_out(folder: Path, capsys):
    _put(
        *(f"o/{name}" for name in ("part-0.csv.gz", "_SUCCESS", ".part-0.csv.gz.crc", "_metadata"))
    )
    _put("o/_committed_77", "o/_started_77", "o/.DS_Store", "o_$folder$")
    assert _expand("o", folders=True) == ["o/part-0.csv.gz"] == _expand("o/*")
    assert _expand("o*", folders=True) == ["o/part-0.csv.gz"]
    assert capsys.readouterr().err == ""


def test_hidden_names_of_no_known_program_are_told(folder: Path, capsys):
    _put("o/1.csv", "o/_2.csv", "o/_3.csv")
    assert _expand("o", folders=True) == ["o/1.csv"]
    assert "o: 2 hidden files left out, such as _" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["_started_8", "_temporary"])
def test_unfinished_work_is_told(folder: Path, capsys, name: str):
    _put("o/part-0.csv", "o/_started_77", "o/_committed_77", f"o/{name}")
    assert _expand("o", folders=True) == ["o/part-0.csv"]
    assert f"o: holds {name}, so the program that writes it may not be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("x*.csv", r"--train_csv: nothing matches x\*\.csv$"),
        ("a.csv,x?.csv", r"nothing matches x\?.csv, a name in its list"),
        ("a.csv,nope.csv", "--train_csv: found no nope.csv, a name in its list"),
        ("a.csv,,b.csv", "--train_csv: found an empty name in the list; remove a comma"),
        ("a.csv,", "found an empty name"),
        ("a.csv,b.csv,a.csv", "found a.csv twice; name it once"),
        ("a.csv,?.csv", "found a.csv twice"),
        ("a.csv,link.csv", "found a.csv and link.csv, which are one file; name it once"),
        ("a.csv,hard.csv", "found a.csv and hard.csv, which are one file"),
        ("**/a.csv", r"found \*\*, expected a \* for each folder"),
        ("nested", "nested: found a folder in it, label=3, expected only files; give a pattern"),
        ("empty", "empty: a folder without files"),
        ("copied/*", "copied/x.csv._COPYING_: is still being copied"),
        ("b.csv,dangling.csv", "found no dangling.csv"),
    ],
)
def test_refused(folder: Path, value: str, line: str):
    _put("a.csv", "b.csv", "nested/label=3/part-0.csv", "empty/_SUCCESS", "copied/x.csv._COPYING_")
    os.symlink("a.csv", "link.csv")
    os.link("a.csv", "hard.csv")
    os.symlink("nowhere", "dangling.csv")
    with pytest.raises(InputError, match=line) as error:
        _expand(value, folders=True)
    assert "\n" not in str(error.value)


def test_a_folder_is_a_file_where_it_may_not_stand_for_many(folder: Path):
    _put("o/1")
    assert _expand("o") == ["o"] == _expand("o*")


def test_very_long_lists(folder: Path):
    names = [f"some-folder-of-parts/part-{number:05d}.csv" for number in range(1000)]
    _put(*names)
    assert _expand(",".join(names)) == names


def test_another_filesystem():
    for name in ("10.csv", "9.csv", "_SUCCESS", ".9.csv.crc", "deep/1.csv", "[1].csv"):
        tf.io.gfile.makedirs("ram://lists/deep")
        with tf.io.gfile.GFile(f"ram://lists/{name}", "wb") as file:
            file.write(b"1,2")
    assert _expand("ram://lists/[0-9]*.csv") == ["ram://lists/9.csv", "ram://lists/10.csv"]
    assert _expand("ram://lists/*/1.csv") == ["ram://lists/deep/1.csv"]
    assert _expand("ram://lists/deep", folders=True) == ["ram://lists/deep/1.csv"]
    assert _expand("ram://lists/[1].csv") == ["ram://lists/[1].csv"]
    both = "ram://lists/10.csv,ram://lists/9.csv"
    assert _expand(both) == both.split(",")
    with pytest.raises(InputError, match="ram://lists/9.csv twice"):
        _expand("ram://lists/9.csv,ram://lists/9*.csv")
    with pytest.raises(InputError, match="ram://lists: found a folder in it, deep"):
        _expand("ram://lists", folders=True)


def test_a_file_of_several_is_not_for_both_training_and_test(folder: Path):
    _put("a.csv", "b.csv")
    values = {"train_csv": "*.csv", "test_csv": "b.csv"}
    with pytest.raises(InputError, match="b.csv: found among the training and among the test"):
        file_lists.of_flags(values, ("train_csv", "test_csv"))
    # Of one file each the dataset's own check warns, as it always did.
    values["train_csv"] = "b.csv"
    found = file_lists.of_flags(values, ("train_csv", "test_csv"))
    assert found == {"train_csv": ["b.csv"], "test_csv": ["b.csv"]}
    assert file_lists.of_flags(values | {"test_csv": ""}, ("train_csv", "test_csv")) == {
        "train_csv": ["b.csv"]
    }


def test_files_of_several_splits_are_not_read_as_one(tmp_path: Path):
    """As the Hugging Face hub and Kaggle lay them into one folder."""
    names = ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet", "contest.parquet"]
    for name in names:
        (tmp_path / name).touch()
    for value in (str(tmp_path), f"{tmp_path}/*.parquet"):
        with pytest.raises(InputError, match="holds train-0.* and test-0.*, expected the files of"):
            file_lists.expand("train_parquet", value, folders=True)
    assert file_lists.expand("train_parquet", f"{tmp_path}/train-*", folders=True) == [
        f"{tmp_path}/{names[0]}"
    ]
    both = [f"{tmp_path}/{name}" for name in names[:2]]  # Asked for by name.
    assert file_lists.expand("train_parquet", ",".join(both), folders=True) == both
    (tmp_path / names[1]).unlink()
    assert len(file_lists.expand("train_parquet", str(tmp_path), folders=True)) == 2


def test_folders_of_several_splits_are_not_read_as_one(folder: Path):
    _put("train/part-0.csv", "train/part-1.csv", "test/part-0.csv")
    with pytest.raises(InputError, match=r"holds train/part-0.csv and test/part-0.csv, expected"):
        _expand("*/part-*")
    assert _expand("train/part-*") == ["train/part-0.csv", "train/part-1.csv"]
    _put("exp/train.csv", "test/train.csv", "validation_1/train/x.csv", "a/train/x.csv")
    assert _expand("*/train.csv") == ["exp/train.csv", "test/train.csv"]
    assert len(_expand("*/train/x.csv")) == 2
    _put("test_run/a/part-0.csv", "test_run/train-b/part-0.csv")
    assert len(_expand("test_run/*/part-*")) == 2  # What all have in common says nothing.


def test_torchvision_s_files_of_both_splits_are_not_read_as_one(tmp_path: Path):
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"):
        (tmp_path / name).touch()
    with pytest.raises(
        InputError, match="holds train-images-idx3-ubyte and t10k-images-idx3-ubyte"
    ):
        file_lists.expand("train_images", f"{tmp_path}/*images*")
