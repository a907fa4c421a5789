from __future__ import annotations

import dataclasses
import gzip
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from support import parquet_tables as tables
from support import tiny_dataset

from mnist_estimator import InputError, config, prepare, prepare_config
from mnist_estimator.data import idx, known_datasets, merging, records, splits
from mnist_estimator.data import parts as parts_room
from mnist_estimator.data.manifest import MANIFEST, NoDatasetError, read_manifest

_REPOSITORY = Path(__file__).parents[1]


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the real command in a folder."""
    environment = os.environ | {"PYTHONPATH": str(_REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "mnist_estimator.prepare", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """Returns a function that calls `main` with flags, in this process."""

    def run(*arguments: str) -> int | None:
        values = flags.FlagValues()
        for module in (flags, config.flags, prepare.flags):
            monkeypatch.setattr(module, "FLAGS", values)
        prepare_config.define_flags(values)
        values(["prepare", *arguments])
        return prepare.main(["prepare"])

    return run


def _put_idx(folder: Path, shape: tuple[int, ...] = (4, 5, 3), classes: int = 300) -> Path:
    folder.mkdir(parents=True)
    for part, count in (("train", 600), ("test", 350)):
        images = np.random.default_rng(count).integers(256, size=(count, *shape), dtype=np.uint8)
        labels = (np.arange(count) % classes).astype(np.int32)
        for role, array in ((f"{part}_images", images), (f"{part}_labels", labels)):
            with gzip.open(folder / (known_datasets.FILE_NAMES[role] + ".gz"), "wb") as file:
                idx.write_idx(file, array)
    return folder


def _csv(path: Path, rows: Sequence[Sequence[int]]) -> str:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return str(path)


# The real command.


def test_sample_then_verify_then_damage(tmp_path: Path):
    done = _run(tmp_path, "--dataset=sample")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "data/sample: sample, 28x28x1 images, 10 classes"
    train = " ".join(done.stdout.splitlines()[1].split())
    assert train == "train 3,600 examples 8 shards 3.0 MB"

    done = _run(tmp_path, "--data_dir=data/sample", "--verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "data/sample: OK, 3,600 train, 400 validation, 1,000 test examples\n"

    shard = tmp_path / "data/sample/test-00003-of-00008.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    done = _run(tmp_path, "--data_dir=data/sample", "--verify")
    assert (done.returncode, done.stderr) == (2, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all(line.startswith(shard.name) for line in lines)
    assert "record 124 is corrupt" in lines[2]


def test_wrong_flag_is_one_line_and_does_not_wait_for_tensorflow(tmp_path: Path):
    code = (
        "import sys; from mnist_estimator import prepare; prepare.define_flags()\n"
        "from mnist_estimator.runtime import program\n"
        "sys.argv = ['prepare', '--shards=0']\n"
        "try: program.run(prepare.main)\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(_REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr == "prepare: --shards: found 0, expected 1 to 256\n"


def test_unknown_flag(tmp_path: Path):
    done = _run(tmp_path, "--shard=3")
    assert done.returncode == 2 and done.stderr.startswith("prepare: Unknown command line flag")
    assert done.stderr.count("\n") == 1


def test_help(tmp_path: Path):
    done = _run(tmp_path, "--help")
    assert done.returncode == 0 and "--train_csv" in done.stdout and "--shards" in done.stdout


def test_two_at_once_give_one_whole_dataset(tmp_path: Path):
    rows = np.random.default_rng(0).integers(256, size=(4000, 257))
    path = _csv(tmp_path / "x.csv", (rows % [10, *[256] * 256]).tolist())
    command = [sys.executable, "-m", "mnist_estimator.prepare", f"--train_csv={path}"]
    environment = os.environ | {"PYTHONPATH": str(_REPOSITORY)}
    options = ["--data_dir=data", "--force"]
    running = [
        subprocess.Popen(
            [*command, *options, f"--shards={shards}"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for shards in (3, 4)
    ]
    errors = [process.communicate(timeout=120)[1] for process in running]
    codes = [process.returncode for process in running]
    # Whichever was last, or alone; one that met the other at work says so.
    assert 0 in codes and set(codes) <= {0, 2}
    assert all("another process" in line for line, code in zip(errors, codes, strict=True) if code)
    assert records.verify(str(tmp_path / "data")) == []


# What is prepared.


def test_source_dir_in_colour_with_many_classes(tmp_path: Path, call, capsys):
    _put_idx(tmp_path / "idx")
    data_dir = str(tmp_path / "data")
    assert not call(f"--source_dir={tmp_path / 'idx'}", f"--data_dir={data_dir}", "--shards=2")
    manifest = read_manifest(data_dir)
    assert (manifest.image_shape, manifest.num_classes) == ((4, 5, 3), 300)
    counts = {split: manifest.num_examples(split) for split in splits.SPLITS}
    assert counts == {"train": 540, "validation": 60, "test": 350}
    assert "custom, 4x5x3 images, 300 classes" in capsys.readouterr().out
    assert not call("--verify", f"--data_dir={data_dir}")


def test_explicit_files_of_any_name(tmp_path: Path, call):
    folder = _put_idx(tmp_path / "idx")
    options = []
    for role, name in known_datasets.FILE_NAMES.items():
        path = (folder / f"{name}.gz").rename(folder / f"my.{role}")
        options.append(f"--{role}={path}")
    data_dir = str(tmp_path / "data")
    call(*options, f"--data_dir={data_dir}", "--num_classes=500", "--validation_split=0")
    assert read_manifest(data_dir).num_classes == 500
    call(*options[:2], f"--data_dir={data_dir}2")
    assert read_manifest(f"{data_dir}2").splits["test"] == ()


def test_csv(tmp_path: Path, call):
    train = _csv(tmp_path / "a.csv", [[i % 7, *[i] * 6] for i in range(20)])
    test = _csv(tmp_path / "b.csv", [[1, 1, 2, 3, 4, 5, 6]])
    data_dir = str(tmp_path / "data")
    call(
        f"--train_csv={train}",
        f"--test_csv={test}",
        "--image_shape=1,2,3",
        f"--data_dir={data_dir}",
        "--validation_split=0.25",
    )
    manifest = read_manifest(data_dir)
    assert (manifest.image_shape, manifest.num_classes) == ((1, 2, 3), 7)
    assert manifest.split_rule == "5 of 20 by selection sampling, seed 0"


def test_csv_in_400_files_as_spark_writes_them(tmp_path: Path, call):
    head = "label,p0,p1,p2,p3\n"
    rows = [f"{n % 7},{n % 256},{n // 256},2,3\n" for n in range(1200)]
    one, many = tmp_path / "one.csv", tmp_path / "out.csv"
    one.write_text(head + "".join(rows))
    many.mkdir()
    for n in range(400):
        with gzip.open(many / f"part-{n:05d}-1b4f-c000.csv.gz", "wt") as file:
            file.write(head + "".join(rows[n * 3 : n * 3 + 3]))
    for name in ("_SUCCESS", "_committed_12", "_started_12", ".part-00000.crc"):
        (many / name).write_text("no data")
    names = {"one": one, "folder": many, "pattern": f"{tmp_path}/ou?.csv/part-*.csv.gz"}
    for name, value in names.items():
        call(f"--train_csv={value}", f"--data_dir={tmp_path / name}")
    folders = [tmp_path / name for name in names]
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1] == files[2] and MANIFEST in files[0]

    bad = many / "part-00036-1b4f-c000.csv.gz"
    with gzip.open(bad, "wt") as file:
        file.write(head + rows[108] + "7,8,9\n")
    with pytest.raises(InputError) as error:
        call(f"--train_csv={many}", f"--data_dir={tmp_path / 'bad'}")
    assert str(error.value).startswith(f"{bad} line 3 (file 37 of 400): 3 fields, expected 5")
    assert not (tmp_path / "bad").exists()


def test_parquet(tmp_path: Path, call):
    table = tables.hub_table(tables.images())
    for n in range(3):
        tables.write(tmp_path / f"train-{n}.parquet", table.slice(n * 8, 8), row_group_size=3)
    tables.write(tmp_path / "one.parquet", table)
    for name, value in (("many", "train-*"), ("one", "one")):
        files = [f"--train_parquet={tmp_path}/{value}.parquet", f"--data_dir={tmp_path / name}"]
        call(*files, "--validation_split=5")
    manifests = [(tmp_path / name / MANIFEST).read_bytes() for name in ("many", "one")]
    assert manifests[0] == manifests[1]
    manifest = read_manifest(str(tmp_path / "one"))
    assert (manifest.image_shape, manifest.class_names) == ((4, 5, 1), ("cat", "dog", "emu"))
    assert manifest.num_examples("train") == 18


def test_image_folder_says_its_classes(tmp_path: Path, call, capsys):
    Image = pytest.importorskip("PIL.Image")
    for name in ("dog", "cat"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (5 + number, 6), "red").save(
                tmp_path / "tree" / name / f"{number}.png"
            )
    data_dir = str(tmp_path / "data")
    options = [f"--image_folder={tmp_path / 'tree'}", f"--data_dir={data_dir}"]
    with pytest.raises(InputError, match="--image_shape=H,W,C, such as 6,5,3"):
        call(*options)
    call(*options, "--image_shape=4,4,3")
    assert "  classes    0 cat, 1 dog\n" in capsys.readouterr().out
    manifest = read_manifest(data_dir)
    assert (manifest.image_shape, manifest.class_names) == ((4, 4, 3), ("cat", "dog"))
    call(*options, "--image_shape=4,4,3")
    assert "prepared already, nothing to do" in capsys.readouterr().out


def test_npz_transposed(tmp_path: Path, call):
    images = np.random.default_rng(0).integers(256, size=(20, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(20) % 7)
    data_dir = str(tmp_path / "data")
    call(f"--npz={tmp_path / 'a.npz'}", f"--data_dir={data_dir}", "--transpose")
    manifest = read_manifest(data_dir)
    assert (manifest.image_shape, manifest.num_classes) == ((3, 4, 1), 7)


def test_idx_files_in_the_data_dir(tmp_path: Path, call):
    folder = _put_idx(tmp_path / "data")
    call(f"--data_dir={folder}")
    assert records.verify(str(folder)) == []


def test_again_and_force(tmp_path: Path, call, capsys):
    options = ["--dataset=sample", f"--data_dir={tmp_path / 'data'}"]
    call(*options)
    assert "prepared already" not in capsys.readouterr().out
    call(*options)
    assert "data: prepared already, nothing to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="train shards 8, not 2.*--force"):
        call(*options, "--shards=2")
    call(*options, "--shards=2", "--force")
    assert len(read_manifest(str(tmp_path / "data")).splits["train"]) == 2


# Wrong flags.


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--shards=257", "--shards: found 257, expected 1 to 256"),
        ("--seed=-1", "--seed: found -1"),
        ("--validation_split=half", "--validation_split: found 'half'"),
        ("--dataset=cifar", "--dataset: found 'cifar', expected one of mnist, fashion_mnist, kmn"),
        ("--dataset=mnist --source_dir=x", "--dataset and --source_dir: found both"),
        ("--source_dir=x --train_csv=y", "--source_dir and --train_csv: found both"),
        ("--train_csv=x --test_images=y", "--test_images and --train_csv: found both"),
        ("--train_images=x --data_dir=d", "--train_images without --train_labels"),
        ("--train_labels=x --data_dir=d", "--train_labels without --train_images"),
        ("--test_images=x --test_labels=y", "--test_images without --train_images"),
        ("--train_images=x --train_labels=y --test_labels=z", "--test_labels without --test_im"),
        ("--test_csv=x", "--test_csv without --train_csv"),
        ("--test_parquet=x", "--test_parquet without --train_parquet"),
        ("--train_parquet=x --train_csv=y", "--train_csv and --train_parquet: found both"),
        ("--train_parquet=x", "--data_dir: found nothing"),
        ("--train_csv=nope/*.csv --data_dir=d", "--train_csv: nothing matches nope/*.csv"),
        ("--train_images=i1,i2 --train_labels=l --data_dir=d", "--train_images: found no i1, a na"),
        ("--train_csv=x", "--data_dir: found nothing"),
        ("--source_dir=x", "--data_dir: found nothing"),
        ("--num_classes=1 --train_csv=x --data_dir=d", "--num_classes: found 1, expected 2 to"),
        ("--num_classes=10", "--num_classes: not without --source_dir"),
        ("--npz=x", "--data_dir: found nothing"),
        ("--npz=x --train_csv=y --data_dir=d", "--train_csv and --npz: found both"),
        ("--transpose", "--transpose: not without --source_dir, --train_images, --train_cs"),
        ("--num_classes=10 --dataset=mnist", "--num_classes: not without --source_dir"),
        ("--label_column=last", "--label_column: not without --train_csv"),
        (
            "--image_shape=28,28,1",
            "--image_shape: not without --train_csv, --train_parquet or --im",
        ),
        ("--image_folder=x", "--data_dir: found nothing"),
        ("--test_image_folder=x --data_dir=d", "--test_image_folder without --image_folder"),
        ("--image_folder=x --npz=y --data_dir=d", "--npz and --image_folder: found both"),
        ("--image_folder=x --num_classes=3 --data_dir=d", "--num_classes: not without"),
        ("--image_folder=x --image_shape=2,2,4 --data_dir=d", "--image_shape: found 4 channels"),
        ("--image_folder=x --transpose --data_dir=d", "--transpose: not without --source_dir"),
        ("--image_shape=28x28 --train_csv=x --data_dir=d", "--image_shape: found '28x28'"),
        ("--image_shape=0,28,1 --train_csv=x --data_dir=d", "--image_shape: found '0,28,1'"),
        ("--verify --dataset=mnist", "--verify and --dataset: found both"),
        ("--verify --force", "--verify and --force: found both"),
    ],
)
def test_wrong_flags(call, arguments: str, line: str):
    with pytest.raises(InputError) as error:
        call(*arguments.split())
    assert str(error.value).startswith(line)


def test_verify_without_dataset(tmp_path: Path, call):
    with pytest.raises(NoDatasetError, match="no manifest.json"):
        call("--verify", f"--data_dir={tmp_path}")


# What is said of the data.


def _labelled(path: Path, labels: Sequence[int]) -> str:
    return _csv(path, [[label, at % 256, 255, 0, 0] for at, label in enumerate(labels)])


def test_sorted_data_are_split_in_each_class(call, tmp_path: Path, capsys):
    train = _labelled(tmp_path / "a.csv", sorted(range(3)) + sorted([0, 1, 2] * 33))
    command = (f"--train_csv={train}", f"--data_dir={tmp_path / 'd'}")
    call(*command)
    said = capsys.readouterr()
    assert "by class" not in said.out and said.err == ""
    manifest = read_manifest(str(tmp_path / "d"))
    assert sorted(manifest.class_examples["validation"]) == [3, 3, 4]
    call(*command)
    assert "prepared already, nothing to do" in capsys.readouterr().out


def test_sorted_data_split_from_the_front_are_shown_by_class(call, tmp_path: Path, capsys):
    train = _labelled(tmp_path / "a.csv", sorted([0, 1, 2] * 34))
    call(f"--train_csv={train}", f"--data_dir={tmp_path / 'd'}", "--validation_split=34")
    said = capsys.readouterr()
    assert "  train      by class: 0:0 1:34 2:34\n" in said.out
    assert "  validation by class: 0:34 1:0 2:0\n" in said.out and "  test       by" not in said.out
    sorted_line, untrained, lacking = said.err.splitlines()
    assert "are sorted by class: validation, the first 34 of 102, has" in sorted_line
    assert f"--data_dir={tmp_path / 'd'} --validation_split=auto --force and" in sorted_line
    assert "training has no example of class 0, but validation has: no network" in untrained
    assert "validation has no example of the classes 1, 2" in lacking


def test_many_classes_are_shown_as_a_range(call, tmp_path: Path, capsys):
    train = _labelled(tmp_path / "a.csv", [*range(20), *[0] * 400])
    test = _labelled(tmp_path / "b.csv", [*range(1, 20)] * 20)
    call(f"--train_csv={train}", f"--test_csv={test}", f"--data_dir={tmp_path / 'd'}")
    said = capsys.readouterr()
    assert "  test       by class: 0 to 20 examples, none of 1 classes\n" in said.out
    assert len(said.err.splitlines()) == 2  # Of validation and of test.


def test_the_same_file_twice(call, tmp_path: Path, capsys):
    train = _labelled(tmp_path / "a.csv", [0, 1] * 20)
    call(f"--train_csv={train}", f"--test_csv={train}", f"--data_dir={tmp_path / 'd'}")
    assert "warning: " in (said := capsys.readouterr().err)
    assert "the test examples are the training examples, so" in said


@pytest.mark.parametrize("more", [(), ("--force",)])
def test_own_data_are_not_replaced_by_mnist(call, tmp_path: Path, more: tuple[str, ...]):
    train = _labelled(tmp_path / "a.csv", [0, 1] * 20)
    call(f"--train_csv={train}", f"--data_dir={tmp_path / 'd'}")
    before = read_manifest(str(tmp_path / "d"))
    with pytest.raises(InputError, match="d: holds custom; to prepare it again give the flags"):
        call(f"--data_dir={tmp_path / 'd'}", *more)
    assert read_manifest(str(tmp_path / "d")) == before


def test_named_data_are_known_without_their_name(call, tmp_path: Path, capsys):
    call("--dataset=sample", f"--data_dir={tmp_path / 'd'}")
    call(f"--data_dir={tmp_path / 'd'}")
    assert "prepared already, nothing to do" in capsys.readouterr().out
    (tmp_path / "d" / MANIFEST).write_text("{")
    with pytest.raises(InputError, match="its manifest.json is damaged; to prepare it again"):
        call(f"--data_dir={tmp_path / 'd'}", "--force")


def test_the_exit_code_says_that_no_mirror_gives_the_dataset(call, tmp_path, monkeypatch, capsys):
    mnist = known_datasets.DATASETS["mnist"]
    unreachable = dataclasses.replace(mnist, mirrors=("http://[broken/",))
    monkeypatch.setitem(known_datasets.DATASETS, "mnist", unreachable)
    assert call("--dataset=mnist", f"--data_dir={tmp_path / 'data'}") == prepare.EXIT_NO_MIRROR == 3
    assert "MNIST cannot be downloaded: " in capsys.readouterr().err.splitlines()[-1]
    # A wrong file in the place of one is another matter.
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / known_datasets.FILE_NAMES["train_images"]).write_text("no images")
    with pytest.raises(InputError, match="is not MNIST's file"):
        call("--dataset=mnist", f"--data_dir={tmp_path / 'data'}")


# Parts.


def test_parts_and_their_merge_are_what_one_process_writes(tmp_path: Path, call, capsys):
    files = _csv_parts(tmp_path)
    assert call(f"--data_dir={tmp_path}/one", *files) is None
    capsys.readouterr()
    data_dir = f"--data_dir={tmp_path}/parts"
    assert call(data_dir, *files, "--part=2/3") is None
    assert capsys.readouterr().out == (
        f"{tmp_path}/parts: part 2 of 3: 9 train, 1 validation, 0 test examples\n"
    )
    assert call(data_dir, *files, "--part=2/3", "--merge") is None
    said = capsys.readouterr().out.splitlines()
    assert "part 2 of 3: was prepared already: 9 train" in said[0]
    assert said[1:] == [f"{tmp_path}/parts: not merged yet: parts 1, 3 of 3 are missing"]
    call(data_dir, *files, "--part=1/3", "--merge")
    with pytest.raises(InputError, match="part 3 of 3 is missing; run prepare with --part=3/3"):
        call(data_dir, "--merge")
    capsys.readouterr()
    assert call(data_dir, *files, "--part=3/3", "--merge") is None
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith(f"{tmp_path}/parts: custom, 2x2x1 images, 3 classes")
    one, parts = (tiny_dataset.files(tmp_path / name) for name in ("one", "parts"))
    assert one == parts
    # As a merge leaves it that is killed while it removes the parts.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_remove_parts", lambda *_: None)
        for number in (1, 2, 3):
            call(data_dir, *files, f"--part={number}/3", "--merge", "--force")
    for attempt in parts_room.look(f"{tmp_path}/parts")[:1]:
        parts_room.remove(attempt)
    for again in ([*files, "--part=1/3", "--merge"], [*files, "--part=1/3"], ["--merge"]):
        assert call(data_dir, *again) is None
        assert "prepared already, nothing to do" in capsys.readouterr().out
        assert tiny_dataset.files(tmp_path / "parts") == one


def _csv_parts(folder: Path) -> list[str]:
    for number in range(5):
        rows = [[row % 3, number, row, 7, 255] for row in range(6)]
        _csv(folder / f"part-{number}.csv", rows)
    return [f"--train_csv={folder}/part-*.csv"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--part=0/3"], "--part: found '0/3', expected I/N, from 1/N to N/N, as 3/16"),
        (["--part=1/2", "--verify"], "--verify and --part: found both"),
        (["--merge", "--verify"], "--verify and --merge: found both"),
        (["--merge", "--dataset=sample"], "--merge and --dataset: found both; --merge reads only"),
        (["--merge", "--shards=8"], "--merge and --shards: found both"),
    ],
)
def test_parts_that_are_none(tmp_path: Path, call, arguments: list[str], line: str):
    with pytest.raises(InputError) as error:
        call(f"--data_dir={tmp_path}", *arguments)
    assert line in str(error.value) and list(tmp_path.iterdir()) == []
