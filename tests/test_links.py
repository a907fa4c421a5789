"""What others may put into a folder: links, FIFOs, devices. And who may write to what is made."""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import re
import socket
import stat
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.datasets import CLASSES, array_source
from support.disks import tmpfs
from support.short_runs import train
from support.unchanged import content, untouched

import mnist_estimator
from mnist_estimator import InputError, RunError, report, submit
from mnist_estimator.compat import v1
from mnist_estimator.data import (
    csv_source,
    download,
    idx_source,
    known_datasets,
    npz_source,
    records,
    workspace,
    writer,
)
from mnist_estimator.data.manifest import MANIFEST, find_manifest
from mnist_estimator.reporting import curves
from mnist_estimator.runs import checkpoints, copies, events, layout, lock, record, status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import files, local_files
from mnist_estimator.scoring import tables
from mnist_estimator.serving import predictors, saved_model, sessions, tflite
from mnist_estimator.training import parameter_server

PACKAGE = Path(mnist_estimator.__file__).parent
STEPS = 6


def write(folder: Path, **options):
    dataset = {"train": array_source(40), "num_classes": CLASSES, "shards": 2}
    return writer.write_dataset(str(folder), dataset="squares", **dataset | options)


# Removing.


def calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_one_module_each_removes_folders_and_makes_them():
    found = {"rmtree": set(), "makedirs": set(), "mkdir": set(), "removedirs": set()}
    for path in PACKAGE.rglob("*.py"):
        for name in calls(ast.parse(path.read_text())):
            if name.rpartition(".")[2] in found:
                found[name.rpartition(".")[2]].add(path.stem)
    assert found["rmtree"] == {"files", "local_files"}
    # Four make local folders only. The last is TensorFlow's, as it was.
    local = {"download", "own_modules", "cache_folder", "user_cache"}
    assert found["makedirs"] == {"files", *local, "eager_profiler"}
    assert found["mkdir"] == {"files", "cache_folder"}
    assert not found["removedirs"]


# data_dir.


def workspaces(data_dir: Path, outside: Path) -> None:
    (data_dir / ".prepare-anyhost-1-00000000").symlink_to(outside)
    ours = data_dir / f".prepare-{re.sub(r'[^a-zA-Z0-9_]', '_', socket.gethostname())}-1-00000001"
    ours.mkdir()
    (ours / "replaced").symlink_to(outside)
    (ours / "alive").symlink_to(outside / "a")


def test_a_link_with_the_name_of_a_workspace(tmp_path, outside):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    workspaces(data_dir, outside)
    with untouched(outside):
        write(data_dir)
    assert not list(data_dir.glob(".*")) and records.verify(str(data_dir)) == []
    workspaces(data_dir, outside)
    with untouched(outside):
        workspace.tidy(str(data_dir))
    assert not list(data_dir.glob(".*")) and records.verify(str(data_dir)) == []


def test_a_manifest_in_a_linked_workspace_has_no_shard_removed(tmp_path):
    """It lists what it says was moved to the data_dir: only a workspace of ours says so."""
    other, data_dir = tmp_path / "other", tmp_path / "data"
    write(other)
    data_dir.mkdir()
    shard = "train-00000-of-00002.tfrecord"
    (other / shard).rename(data_dir / shard)
    (data_dir / shard).write_text("mine")
    (data_dir / ".prepare-anyhost-1-00000000").symlink_to(other)
    with pytest.raises(InputError, match=f"found {shard} without a manifest"):
        write(data_dir)
    assert (data_dir / shard).read_text() == "mine"
    assert (other / MANIFEST).exists()


def test_the_sign_of_life_is_written_through_no_link(tmp_path, outside):
    beat = workspace._heartbeat(str(tmp_path))
    (tmp_path / "alive").unlink()
    (tmp_path / "alive").symlink_to(outside / "a")
    beat._next = 0.0
    with untouched(outside):
        beat()
    assert (tmp_path / "alive").read_text() == "alive"


def test_a_data_dir_and_a_model_dir_may_be_links(tmp_path):
    for name in ("data", "run"):
        (tmp_path / "disk" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    write(tmp_path / "data")
    write(tmp_path / "data", shards=1, force=True)
    options = {"model": "softmax", "max_steps": STEPS, "eval_split": "none", "export": "final"}
    train(tmp_path / "run", str(tmp_path / "data"), **options)
    assert status.read(str(tmp_path / "disk/run")).state == status.DONE
    assert (tmp_path / "run").is_symlink() and (tmp_path / "data").is_symlink()


# model_dir.


def hostile(model_dir: Path, outside: Path, step: int) -> None:
    """Links of all the names that can be known before a checkpoint is saved."""
    names = [f"{name}.json.tmp" for name in ("status", "run", "evaluations", "metrics")]
    names += [
        f"model.ckpt-{step}{end}"
        for end in (".sha256", ".sha256.tmp", ".index", ".data-00000-of-00001")
    ]
    names += ["checkpoint.tmp", "checkpoint.tmp0"]
    now = int(time.time())
    names += [f"events.out.tfevents.{now + n}.{socket.gethostname()}" for n in range(-1, 60)]
    for number, name in enumerate(names):
        victim = outside / f"victim-{step}-{number}"
        victim.write_text("mine")
        if not os.path.lexists(model_dir / name):
            (os.link if number % 2 else os.symlink)(victim, model_dir / name)
    (model_dir / f"model.ckpt-{step}_temp").symlink_to(outside)


def test_a_run_writes_through_no_link_of_a_name_that_can_be_known(tmp_path, outside, monkeypatch):
    data_dir, model_dir = tmp_path / "data", tmp_path / "run"
    write(data_dir, validation_split="8")
    original, before = checkpoints.remove_links, {}

    def remove_links(path):
        hostile(model_dir, outside, checkpoints.step_of(path))
        before.update(content(outside))
        original(path)

    monkeypatch.setattr(checkpoints, "remove_links", remove_links)
    options = {"model": "softmax", "max_steps": STEPS, "save_checkpoints_steps": 3}
    train(model_dir, str(data_dir), **options)
    assert content(outside) == before and len(before) > 3 * 60
    assert status.read(str(model_dir)).state == status.DONE
    assert checkpoints.newest_whole(str(model_dir)).endswith(f"-{STEPS}")
    assert not [name for name in os.listdir(model_dir) if local_files.is_temporary(name)]


@pytest.mark.parametrize("name", ["", "eval"])
def test_events_are_written_through_no_link(tmp_path, outside, name):
    """A name with a time to come makes the next one later than all that are there."""
    folder = tmp_path / "run" / name
    folder.mkdir(parents=True)
    hostile(folder, outside, 0)
    with untouched(outside):
        events.writer(str(folder)).add_session_log(v1.SessionLog(), 1)
        events.writer(str(folder)).flush()


@pytest.mark.parametrize("name", layout.FOLDERS)
def test_a_folder_of_a_run_that_is_a_link_is_refused(tmp_path, outside, name):
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with untouched(outside), pytest.raises(InputError, match=f"run/{name}: is a symbolic link"):
        layout.check_folder(str(tmp_path / "run"))


def test_copies_of_checkpoints_do_not_go_through_a_link(tmp_path, outside):
    (tmp_path / "evaluating").symlink_to(outside)
    with untouched(outside):
        for change in (
            lambda folder: copies.drop_copies(folder),
            lambda folder: copies.keep_copy(str(tmp_path / "model.ckpt-3"), folder),
        ):
            with pytest.raises(InputError, match="evaluating: is a symbolic link"):
                change(str(tmp_path / "evaluating"))


def test_left_overs_that_are_links(tmp_path, outside):
    for name in ("model.ckpt-5_temp", "checkpoint.tmp1a"):
        (tmp_path / name).symlink_to(outside)
    with untouched(outside):
        checkpoints.remove_left_overs(str(tmp_path))
    assert os.listdir(tmp_path) == ["outside"]


# Files that are written.

WRITERS: dict[str, Callable[[str], object]] = {
    "write_text": lambda path: files.write_text(path, "new"),
    "copy": lambda path: files.copy(__file__, path),
    "report": functools.partial(report._check_output, is_named=True),
    "submit": lambda path: submit._write(path, "new"),
}


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_written_through_no_link(tmp_path, outside, name, make):
    make(outside / "a", tmp_path / "page.html.tmp")
    make(outside / "below/b", tmp_path / "page.html")
    before = set(os.listdir(tmp_path))
    with untouched(outside):
        WRITERS[name](str(tmp_path / "page.html"))
    # A link that is to be written is replaced.
    assert (tmp_path / "page.html").is_symlink() == (name == "report" and make is os.symlink)
    assert set(os.listdir(tmp_path)) == before


@pytest.fixture(params=["folder", "fifo", "device", "stream", "descriptor"])
def special(request, tmp_path) -> str:
    """Something that is no plain file."""
    path = str(tmp_path / "special")
    if request.param == "folder":
        os.mkdir(path)
    elif request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "device":
        os.symlink("/dev/null", path)
    elif request.param == "stream":
        os.symlink("/proc/self/fd/1", path)  # As /dev/stdout is.
    else:
        return f"/dev/fd/{os.open(tmp_path / 'plain', os.O_CREAT | os.O_WRONLY)}"
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_no_file_is_not_replaced(special, name):
    before = os.lstat(special)
    with pytest.raises(InputError, match="special: |/dev/fd/|--output: found"):
        WRITERS[name](special)
    assert os.path.samestat(before, os.lstat(special))
    assert not [name for name in os.listdir(os.path.dirname(special)) if ".tmp" in name]


@pytest.mark.parametrize(("age_secs", "stays"), [(0, True), (23 * 3600, True), (90_000, False)])
def test_what_killed_processes_left_goes_a_day_later(tmp_path, outside, age_secs, stays):
    """Earlier, another task may be at work on it."""
    names = [".mnist_estimator-0123456789abcdef.tmp"]
    mine = [".mnist_estimator-mine.tmp", "x.tmp", ".export-0123"]
    then = time.time() - age_secs
    for name in names + mine:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (then, then))
    scratch = tmp_path / ".export-0123456789abcdef"
    scratch.mkdir()
    (scratch / "link").symlink_to(outside)
    os.utime(scratch, (then, then))
    with untouched(outside):
        checkpoints.remove_left_overs(str(tmp_path))
        files.remove_left_overs(str(tmp_path), saved_model._SCRATCH.fullmatch)
    found = set(os.listdir(tmp_path))
    assert found == {*mine, "outside", *([*names, scratch.name] if stays else [])}


# Exports.


def test_an_export_that_is_a_link_is_refused(tmp_path, outside):
    (tmp_path / "20").symlink_to(outside)
    with (
        untouched(outside),
        pytest.raises(InputError, match="20: is a symbolic link"),
        saved_model._replacing(str(tmp_path / "20")),
    ):
        pytest.fail("exports")


def test_an_export_with_a_link_in_it_is_none(tmp_path, outside):
    (tmp_path / "20/variables").mkdir(parents=True)
    (tmp_path / "20/variables/loop").symlink_to(tmp_path / "20")
    with (
        untouched(outside),
        pytest.raises(RunError, match="20: found no assets.extra/model.json"),
        saved_model._replacing(str(tmp_path / "20")),
    ):
        pytest.fail("exports")


# The lock.


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_lock_that_is_a_link_is_refused(tmp_path, outside, make):
    (tmp_path / "run").mkdir()
    make(outside / "a", tmp_path / "run" / lock.LOCK_FILE)
    with (
        untouched(outside),
        pytest.raises(InputError, match=r"\.trainer: (not a plain file|found 2 hard links)"),
        lock.held(str(tmp_path / "run")),
    ):
        pytest.fail("trains")


def test_a_request_to_save_is_written_through_no_link(tmp_path, outside):
    (tmp_path / ".save_request").symlink_to(outside / "a")
    with untouched(outside):
        parameter_server._request_save(str(tmp_path), lambda: True)
    assert not os.path.lexists(tmp_path / ".save_request")


# FIFOs in place of files: opened, each would be waited for, for ever.


def sealed(folder: Path, name: str) -> str:
    """The path of a checkpoint of which one file is a FIFO."""
    path = folder / "model.ckpt-3"
    for end in (".index", ".data-00000-of-00001"):
        (folder / f"{path.name}{end}").write_bytes(b"")
    if name == ".sha256" or not name.endswith("unsealed"):
        checkpoints.seal(str(path))
    end = name.removesuffix("unsealed")
    (folder / f"{path.name}{end}").unlink()
    os.mkfifo(folder / f"{path.name}{end}")
    return str(path)


@pytest.mark.parametrize("name", [".sha256", ".index", ".data-00000-of-00001", ".indexunsealed"])
def test_a_fifo_for_a_file_of_a_checkpoint(tmp_path, name):
    assert "not a plain file" in checkpoints.damage(sealed(tmp_path, name))


READERS: dict[str, Callable[[Path], object]] = {
    "run.json": lambda folder: record.read_run(str(folder)),
    "checkpoint": lambda folder: checkpoints.newest(str(folder)),
    "evaluations.json": lambda folder: Evaluations(str(folder)),
    "manifest.json": lambda folder: find_manifest(str(folder)),
    "train-00000-of-00001.tfrecord": lambda folder: list(
        records.read_records(str(folder / "train-00000-of-00001.tfrecord"))
    ),
    ".trainer": lambda folder: lock.held(str(folder)).__enter__(),
    "a.csv": lambda folder: csv_source.CsvSource(str(folder / "a.csv"), role="train_csv"),
    "a.npz": lambda folder: npz_source.open_parts(str(folder / "a.npz"), None),
    "images": lambda folder: idx_source.IdxSource(str(folder / "images"), __file__, "train", 2),
    "labels": lambda folder: list(
        idx_source.IdxSource.label_chunks(
            types.SimpleNamespace(_paths=("", str(folder / "labels"))), 1
        )
    ),
    "train-images-idx3-ubyte": lambda folder: download.fetch(
        known_datasets.DATASETS["mnist"],
        str(folder),
        line=types.SimpleNamespace(show=pytest.fail, say=pytest.fail),
    ),
    "assets/class_names.txt": lambda folder: predictors.from_export(str(folder)).__enter__(),
    "assets.extra/model.json": lambda folder: predictors._pictures_of(str(folder)),
    "saved_model.pb": lambda folder: sessions.load(str(folder), "x").__enter__(),
    "model.tflite": lambda folder: tflite.accuracy(str(folder / "model.tflite"), "", None, "test"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_fifo_for_a_file_is_one_line(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: not a plain file"):
        READERS[name](tmp_path)


def test_a_fifo_for_events_ends_the_curve(tmp_path):
    os.mkfifo(tmp_path / "events.out.tfevents.1.host")
    _, problem = curves._training_curves(str(tmp_path))
    assert "events.out.tfevents.1.host: not a plain file" in problem


def test_a_fifo_for_the_status_is_no_record(tmp_path):
    os.mkfifo(tmp_path / "status.json")
    assert status.read(str(tmp_path)) is None


# Who may write to what is made.


@pytest.fixture
def shared(tmp_path) -> Iterator[Path]:
    """A folder that a group works in: set-gid, and a umask that lets the group write."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2775)
    before = os.umask(0o002)
    try:
        yield folder
    finally:
        os.umask(before)


def test_all_that_is_made_is_the_group_s(shared):
    write(shared / "data", test=array_source(9, seed=1), validation_split="8")
    options = {"model": "softmax", "max_steps": STEPS, "export": "best"}
    run = shared / "below/run"
    train(run, str(shared / "data"), **options)
    files.make_folders(str(shared / "results/of"))
    tables.write(str(shared / "results/of/run"), {}, None, [])
    files.write_bytes(str(shared / "export.tflite"), b"")
    modes = {
        str(path.relative_to(shared)): stat.S_IMODE(path.stat().st_mode)
        for path in shared.rglob("*")
    }
    wrong = {
        name: oct(mode)
        for name, mode in modes.items()
        if mode != (0o2775 if (shared / name).is_dir() else 0o664)
    }
    assert wrong == {} and modes["below/run/.trainer"] == 0o664
    assert {"below/run/best", "below/run/eval", "below/run/eval_test"} <= set(modes)
    assert any(name.endswith("/variables") for name in modes)


# Folders of another user.


@pytest.fixture
def as_nobody(tmp_path) -> Iterator[None]:
    """Has this process lose root's right to read everything; skipped where it has none to lose."""
    if os.geteuid():
        pytest.skip("not root, which may become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "evaluations.json"])
def test_what_may_not_be_read_is_not_called_missing(tmp_path, request, name):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    (folder / name).write_text("{}")
    for place in tmp_path.parents:
        if place == Path(tempfile.gettempdir()).resolve():
            break
        place.chmod(0o755)
    tmp_path.chmod(0o755)
    request.getfixturevalue("as_nobody")
    with pytest.raises(InputError, match=f"run/{name}: [Pp]ermission denied"):
        READERS[name](folder)
    with pytest.raises(InputError, match="run.*: [Pp]ermission denied"):
        checkpoints.newest_whole(str(folder))


# A disk that is full.


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Callable[[], None]]:
    """A small filesystem at tmp_path/disk, if it can be made, and a function that fills it."""
    folder = tmp_path / "disk"

    def fill() -> None:
        with contextlib.suppress(OSError), open(folder / "other", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    with tmpfs(folder, "256k"):
        yield fill


def test_a_run_that_a_full_disk_ended_is_recorded_as_failed(tmp_path, full_disk):
    folder = tmp_path / "disk/run"
    folder.mkdir()
    reason = f"{folder}/model.ckpt-0_temp/part: No space left on device"
    with pytest.raises(RunError), status.record_outcome(str(folder)):
        full_disk()
        raise RunError(reason)
    found = status.read(str(folder))
    assert (found.state, found.exit_code, found.reason) == (status.FAILED, 1, reason)
    assert os.listdir(folder) == [status.STATUS_FILE]


def test_room_that_a_save_took_is_given_back(tmp_path, full_disk):
    """Then the record of the end is a whole new file."""
    folder = tmp_path / "disk/run"
    folder.mkdir()
    with pytest.raises(RunError), status.record_outcome(str(folder)):
        (folder / "model.ckpt-0_temp").mkdir()
        (folder / "model.ckpt-0_temp/part").write_bytes(bytes(100_000))
        full_disk()
        raise RunError("no room")
    assert os.listdir(folder) == [status.STATUS_FILE]
    assert status.read(str(folder)).state == status.FAILED


def test_nothing_is_left_of_a_model_for_which_there_is_no_room(tmp_path, full_disk):
    path = tmp_path / "disk/model.tflite"
    with pytest.raises(InputError, match="model.tflite: No space left on device"):
        files.write_bytes(str(path), bytes(10**6))
    assert os.listdir(path.parent) == []


def test_the_last_record_goes_through_no_link(tmp_path, outside, monkeypatch):
    def full(path, value):
        raise InputError("full")

    recorder = status.Recorder(str(tmp_path), has_evaluator=False)
    monkeypatch.setattr(status, "write_json", full)
    for make in (os.symlink, os.link):
        make(outside / "a", tmp_path / status.STATUS_FILE)
        with untouched(outside), pytest.raises(InputError, match="status.json: (not a|found 2)"):
            recorder.write_last(status.FAILED, 1, "why")
        (tmp_path / status.STATUS_FILE).unlink()
