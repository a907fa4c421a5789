"""Which modules may be imported when only the record of a run names them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mnist_estimator import InputError
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import open_run, record
from mnist_estimator.runtime import own_modules

RUNS = "import pathlib; pathlib.Path('executed').touch(); net = print\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """The current folder of a user who has trained nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(RUNS)
    return file


def check_refused(name: str, why: str, model_dir: str = "tboard/mod1") -> None:
    line = rf"^{model_dir}: run.json names the network {name}, .*{why}.*, give --model={name}$"
    with pytest.raises(InputError, match=line):
        own_modules.check_trusted(name, model_dir)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mine:net", "mine.py"),
        ("mine:net", "mine/__init__.py"),
        ("one.two.mine:net", "one/two/mine.py"),
        ("one.two:net", "one/two/__init__.py"),
    ],
)
def test_a_module_is_found_and_not_imported(here, name, file):
    write(file)
    assert own_modules.place(name) == str(here / file)
    assert not Path("executed").exists()


def test_no_package_above_a_module_is_imported(here):
    write("one/__init__.py")
    write("one/two/__init__.py")
    write("one/two/mine.py")
    assert own_modules.place("one.two.mine:net") == str(here / "one/two/mine.py")
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", ["nowhere:net", "one.nowhere:net", "mine.inner:net", "sys:exit"])
def test_what_is_no_file_has_no_place(name):
    write("mine.py")
    write("one/two.py")
    assert own_modules.place(name) == ""
    check_refused(name, "not found here")


def test_what_the_user_has_trained_is_trusted_from_the_same_file_alone(here):
    write("mine.py")
    check_refused("mine:net", f"not trained on this machine from {here}/mine.py")
    own_modules.note_trained("mine:net")
    own_modules.check_trusted("mine:net", "tboard/mod1")
    check_refused("mine:other", "not trained")
    # As in a folder that somebody has sent, with a module of the same name.
    write("received/mine.py")
    os.chdir("received")
    sys.path.insert(0, os.getcwd())
    check_refused("mine:net", f"from {here}/received/mine.py")


def test_a_module_in_the_runs_own_folder_is_never_trusted(here):
    for name, file in (("tboard.mod1.mine:net", "tboard/mod1/mine.py"), ("link:net", "link.py")):
        if file == "link.py":
            Path(file).symlink_to(here / "tboard/mod1/mine.py")
        else:
            write(file)
        own_modules.note_trained(name)
        check_refused(name, "lies in the run's own folder")
    own_modules.check_trusted("tboard.mod1.mine:net", "tboard/mod10")


def test_a_link_to_a_trained_module_is_another_module(here, monkeypatch):
    write("one/mine.py")
    own_modules.note_trained("one.mine:net")
    write("received/one/__init__.py")
    Path("received/one/mine.py").symlink_to(here / "one/mine.py")
    os.chdir("received")
    monkeypatch.setattr(sys, "path", [os.getcwd(), *sys.path])
    check_refused("one.mine:net", "not trained")


def test_notes_that_others_could_have_written_count_for_nothing(here):
    write("mine.py")
    own_modules.note_trained("mine:net")
    notes = here / "state/mnist_estimator/networks"
    assert notes.stat().st_mode & 0o777 == 0o600
    notes.chmod(0o620)
    check_refused("mine:net", "not trained")
    notes.chmod(0o600)
    notes.rename(here / "notes")
    notes.symlink_to(here / "notes")
    check_refused("mine:net", "not trained")


@pytest.mark.parametrize("folder", ["/proc/no/such", "relative", ""])
def test_without_a_folder_for_notes_nothing_is_trusted(folder, monkeypatch):
    write("mine.py")
    monkeypatch.setenv("XDG_STATE_HOME", folder)
    monkeypatch.setenv("HOME", "/proc/no/such")
    own_modules.note_trained("mine:net")
    check_refused("mine:net", "not trained")


def test_a_network_is_noted_once():
    write("mine.py")
    for _ in range(2):
        own_modules.note_trained("mine:net")
    assert len(Path("state/mnist_estimator/networks").read_text().splitlines()) == 1


class TestOpeningARun:
    @pytest.fixture(autouse=True)
    def received(self, monkeypatch):
        """A run that names a module beside its record; it has no checkpoint."""
        write("tboard/mod1/evil.py")
        config = TrainConfig(model="tboard.mod1.evil:net")
        monkeypatch.setattr(record, "read_run", lambda model_dir: (config, {}))

    def test_its_module_is_not_imported(self):
        with pytest.raises(InputError, match=r"tboard.mod1.evil:net.*give --model="):
            open_run.open_run("tboard/mod1")
        assert not Path("executed").exists()

    def test_it_is_imported_where_the_user_says_so(self):
        with pytest.raises(InputError, match="found no checkpoint"):
            open_run.open_run("tboard/mod1", model="tboard.mod1.evil:net")
        assert Path("executed").exists()

    @pytest.mark.parametrize("named", ["mine:net", "cnn"])
    def test_another_network_than_it_has_is_refused(self, named):
        line = f"^--model: found {named}, expected tboard.mod1.evil:net, which the run in tboard"
        with pytest.raises(InputError, match=line):
            open_run.open_run("tboard/mod1", model=named)
        assert not Path("executed").exists()
