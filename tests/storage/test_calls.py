"""The functions that C calls."""

import ctypes
import secrets

import pytest

from mnist_estimator.storage import _abi, _calls, _errors, _objects, _paths


class Side:
    """C's side: it calls the functions, and keeps what they say."""

    def __init__(self):
        self.code, self.text, self.names = 0, "", None
        self.functions = _calls.functions(self._set_status, self._fill_names)

    def _set_status(self, status, code, text):
        self.code, self.text = code, text.decode()

    def _fill_names(self, joined, count, entries):
        self.names = [name.decode() for name in joined.split(b"\0")[:count]]
        return count

    def call(self, name, *arguments):
        self.code, self.text = 0, ""
        encoded = [each.encode() if isinstance(each, str) else each for each in arguments]
        return self.functions[name](*encoded, "status")

    def open(self, how, path):
        file = (_abi.File * 1)()
        self.call(how, path, file)
        return file


@pytest.fixture
def side():
    found = Side()
    before = dict(_calls._open_files)
    yield found
    assert before == _calls._open_files, "a file stays open"


@pytest.fixture
def path():
    return f"memory://{secrets.token_hex(4)}/d/a"


def written(side, path, content):
    file = side.open("new_writer", path)
    data = ctypes.create_string_buffer(content, len(content))
    side.call("append", file, ctypes.addressof(data), len(content))
    return file


def test_all_operations_have_a_function(side):
    assert set(side.functions) | {"set_status"} == {name for name, _ in _abi.OPERATIONS}


def test_a_file_is_written_and_read(side, path):
    file = written(side, path, b"hello")
    assert side.call("tell", file) == 5
    side.call("close", file)
    side.functions["drop_writer"](file)
    file, buffer = side.open("new_reader", path), ctypes.create_string_buffer(10)
    assert side.call("read", file, 1, 3, ctypes.addressof(buffer)) == 3 and side.code == 0
    assert buffer.raw[:3] == b"ell"
    assert side.call("read", file, 3, 10, ctypes.addressof(buffer)) == 2
    assert side.code == _errors.OUT_OF_RANGE and buffer.raw[:2] == b"lo"
    assert side.call("read", file, 9, 10, ctypes.addressof(buffer)) == 0
    assert side.code == _errors.OUT_OF_RANGE
    side.functions["close_reader"](file)
    out = (_abi.Statistics * 1)()
    side.call("stat", path, out)
    assert (out[0].length, out[0].is_directory) == (5, False) and out[0].mtime_nsec > 0


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("exists", (), _errors.NOT_FOUND),
        ("is_directory", (), _errors.NOT_FOUND),
        ("stat", ((_abi.Statistics * 1)(),), _errors.NOT_FOUND),
        ("new_reader", ((_abi.File * 1)(),), _errors.NOT_FOUND),
        ("delete_file", (), _errors.NOT_FOUND),
        ("delete_dir", (), _errors.NOT_FOUND),
        ("rename", (b"memory://b/x",), _errors.NOT_FOUND),
        ("copy", (b"memory://b/x",), _errors.NOT_FOUND),
        ("get_children", (0,), _errors.NOT_FOUND),
    ],
)
def test_what_is_not_there_is_said_with_its_path(side, path, name, arguments, code):
    side.call(name, path, *arguments)
    assert side.code == code and path in side.text


def test_names_of_a_folder_and_of_a_pattern(side, path):
    _objects.put(_paths.parse(path), b"")
    folder = path.rpartition("/")[0]
    assert side.call("get_children", folder, 0) == 1 and side.names == ["a"]
    assert side.call("get_matching_paths", f"{folder}/*", 0) == 1 and side.names == [path]
    assert side.call("get_matching_paths", f"{folder}/no*", 0) == 0 and side.code == 0


def test_folders(side, path):
    side.call("create_dirs", path)
    assert side.code == 0
    side.call("create_dir", path)
    assert side.code == _errors.ALREADY_EXISTS
    files, folders = (ctypes.c_uint64 * 1)(), (ctypes.c_uint64 * 1)()
    side.call("delete_recursively", path, files, folders)
    assert (side.code, files[0], folders[0]) == (0, 0, 0)


def test_no_exception_of_any_kind_passes(side, path, monkeypatch):
    for kind in (KeyboardInterrupt, SystemExit, MemoryError, RecursionError):

        def fail(location, kind=kind):
            raise kind("sudden")

        monkeypatch.setattr(_objects, "head", fail)
        assert side.call("is_directory", path) is None
        assert side.code != 0 and "sudden" in side.text


def test_a_hostile_path_is_an_argument_that_is_wrong(side):
    for path in (b"memory://b/../x", b"memory://", b"memory://b/\x01", b"memory://b/\xff\xfe/.."):
        side.call("exists", path)
        assert side.code == _errors.INVALID_ARGUMENT


def test_an_end_of_a_file_raises_nothing(side, path, monkeypatch, caplog):
    file = written(side, path, b"x")
    monkeypatch.setattr(_objects, "put", lambda *arguments: 1 / 0)
    side.functions["drop_writer"](file)
    assert f"{path} was not closed, and is not kept" in caplog.text
    side.functions["drop_writer"](file)


def test_at_the_end_of_the_program_small_files_are_kept(side, path):
    written(side, path, b"x")
    _calls.drop_all()
    assert bytes(_objects.get_all(_paths.parse(path)).bytes()) == b"x"


def test_a_forked_process_leaves_its_parent_s_files_alone(side, path):
    file = written(side, path, b"x")
    _calls.forget_all()
    side.call("flush", file)
    assert side.code == _errors.FAILED_PRECONDITION and "forked" in side.text
    side.functions["drop_writer"](file)
    assert _objects.head(_paths.parse(path)) is None
