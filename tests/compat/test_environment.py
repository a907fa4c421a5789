"""What `--enable` writes and `--disable` removes, and what neither touches."""

from __future__ import annotations

import ast
import os
import pathlib
import sys
import sysconfig

import pytest

import mnist_estimator
from mnist_estimator import InputError, RunError
from mnist_estimator.compat import VersionError, _environment, _keras, _versions

MODULE, LINE = "_mnist_estimator_startup.py", "_mnist_estimator_startup.pth"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A site-packages with a file of somebody else's."""
    (tmp_path / "other.pth").write_text("import other\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_writes_two_files_and_removes_them(folder):
    assert "find tf.estimator at their first import" in _environment.enable(tf1=False)
    assert names(folder) == [LINE, MODULE, "other.pth"]
    assert (folder / LINE).read_text() == "import _mnist_estimator_startup\n"
    for path in (LINE, MODULE):
        assert (folder / path).stat().st_mode & 0o777 == 0o666 & ~umask()
    (folder / "__pycache__").mkdir()
    compiled = folder / "__pycache__" / f"{MODULE[:-3]}.{sys.implementation.cache_tag}.pyc"
    compiled.write_bytes(b"")
    assert "run as without" in _environment.disable()
    assert names(folder) == ["__pycache__", "other.pth"]
    assert names(folder / "__pycache__") == []


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("tf1", [False, True])
def test_the_module_knows_the_package_and_the_version(folder, tf1):
    _environment.enable(tf1=not tf1)
    _environment.enable(tf1=tf1)  # The last one counts.
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((folder / MODULE).read_text()).body
        if isinstance(node, ast.Assign)
    }
    assert constants["_TF1"] is tf1
    assert constants["_PACKAGE"] == str(pathlib.Path(mnist_estimator.__file__).resolve().parent)


def test_there_is_nothing_to_remove(folder):
    assert "was not enabled" in _environment.disable()


@pytest.mark.parametrize("act", [lambda: _environment.enable(tf1=False), _environment.disable])
@pytest.mark.parametrize("name", [MODULE, LINE])
@pytest.mark.parametrize("kind", ["text", "bytes", "link", "dangling", "folder"])
def test_a_file_of_somebody_else_s_is_left_alone(folder, name, kind, act):
    path, target = folder / name, folder / "other.pth"
    if kind == "text":
        path.write_text("import something_else\n")
    elif kind == "bytes":
        path.write_bytes(b"\xff\x00" * 1000)
    elif kind == "link":
        target.write_text(_environment._LINE)
        path.symlink_to(target)
    elif kind == "dangling":
        path.symlink_to(folder / "nothing")
    else:
        path.mkdir()
    with pytest.raises(InputError, match=f"{name}: is not what --enable has written"):
        act()
    assert os.path.lexists(path) and names(folder) == sorted([name, "other.pth"])
    assert target.exists()


def test_a_folder_that_cannot_be_written_is_one_line(folder, monkeypatch):
    def fails(*args, **options):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", fails)
    with pytest.raises(RunError, match=f"^{folder}: Permission denied$"):
        _environment.enable(tf1=False)


def test_a_full_disk_leaves_no_part_of_a_file(folder, monkeypatch):
    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(RunError, match="No space left on device"):
        _environment.enable(tf1=False)
    assert names(folder) == ["other.pth"]


def test_the_operating_system_s_python_is_left_alone(folder, monkeypatch):
    (folder / "EXTERNALLY-MANAGED").write_text("")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(InputError, match="python -m venv"):
        _environment.enable(tf1=False)
    assert names(folder) == ["EXTERNALLY-MANAGED", "other.pth"]


def test_where_it_cannot_work_it_says_so_and_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr(_versions, "installed", lambda module, distribution: None)
    with pytest.raises(VersionError, match="TensorFlow is not installed"):
        _environment.enable(tf1=False)
    assert names(folder) == ["other.pth"]


@pytest.mark.parametrize(
    ("version", "tf_keras", "hint"),
    [("2.21.0", None, True), ("2.21.0", "found", False), ("2.15.1", None, False)],
)
def test_it_names_the_extra_that_canned_estimators_need(
    folder, monkeypatch, version, tf_keras, hint
):
    monkeypatch.setattr(_versions, "installed", lambda module, distribution: version)
    monkeypatch.setattr(_versions, "check_versions", lambda *versions: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: tf_keras)
    assert (_keras.INSTALL in _environment.enable(tf1=False)) is hint
