"""The part in C, and the types of what it calls."""

import ctypes
import pathlib
import re

import pytest

from mnist_estimator import InputError
from mnist_estimator.storage import _abi

SOURCE = pathlib.Path(_abi.__file__).with_name("_shim.c").read_text(encoding="utf-8")


def test_both_sides_name_the_same_operations_in_the_same_order():
    table = SOURCE[SOURCE.index("typedef struct {\n  void (*set_status)") :]
    table = table[: table.index("} Operations")]
    in_c = re.findall(r"\(\*(\w+)\)", table)
    assert in_c == [name for name, _ in _abi.OPERATIONS]


def test_each_operation_takes_as_many_arguments_on_both_sides():
    for name, kind in _abi.OPERATIONS[1:]:
        (arguments,) = re.findall(rf"\(\*{name}\)\((.*)\);", SOURCE)
        count = 0 if arguments == "void" else arguments.count(",") + 1
        assert len(kind._argtypes_) == count, name


def test_the_types_are_as_large_as_tensorflow_s():
    assert ctypes.sizeof(_abi.File) == ctypes.sizeof(ctypes.c_void_p)
    assert ctypes.sizeof(_abi.Statistics) == 24
    assert ctypes.sizeof(_abi.Operations) == 24 * ctypes.sizeof(ctypes.c_void_p)


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The part in C, in a library of its own, so that the real one is left alone."""
    path = _abi.shim_path()
    if path is None:
        pytest.skip("the part in C is not built: no compiler")
    copy = tmp_path_factory.mktemp("shim") / "shim.so"
    copy.write_bytes(pathlib.Path(path).read_bytes())
    return _abi.load_shim(str(copy))


def test_names_are_made_for_tensorflow(shim):
    entries = ctypes.POINTER(ctypes.c_char_p)()
    names = "a\0bü\0\0c\0".encode()
    assert shim.shim_names(names, 4, ctypes.byref(entries)) == 4
    assert entries[:4] == [b"a", "bü".encode(), b"", b"c"]
    assert shim.shim_names(b"", 0, ctypes.byref(entries)) == 0


def test_no_call_passes_a_closed_gate(shim):
    """`TF_InitPlugin` hands out the functions as TensorFlow gets them."""
    called, statuses = [], []
    kinds = dict(_abi.OPERATIONS)
    exists = kinds["exists"](lambda path, status: called.append((path, status)))
    setter = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
    set_status = setter(lambda status, code, text: statuses.append((status, code)))
    address = ctypes.cast(set_status, ctypes.c_void_p).value
    table = _abi.Operations(set_status=address, exists=exists)
    path_exists = function_of_table(shim, 13)
    path_exists(None, b"early", 1)
    shim.shim_open(table, None)
    path_exists(None, b"open", 2)
    assert shim.shim_close() == 0
    path_exists(None, b"late", 3)
    # The first was before there was a way to say anything.
    assert called == [(b"open", 2)] and statuses == [(3, 14)]


def function_of_table(shim, place):
    """One of TF_FilesystemOps, as a scheme is registered with."""

    class Kind(ctypes.Structure):
        _fields_ = (("abi", ctypes.c_int), ("api", ctypes.c_int))
        _fields_ += (("size", ctypes.c_size_t), ("table", ctypes.POINTER(ctypes.c_void_p)))

    class Ops(ctypes.Structure):
        _fields_ = (("scheme", ctypes.c_char_p), ("kinds", Kind * 4))

    class Info(ctypes.Structure):
        _fields_ = (("count", ctypes.c_size_t), ("ops", ctypes.POINTER(Ops)))
        _fields_ += (("allocate", ctypes.c_void_p), ("release", ctypes.c_void_p))

    info = Info()
    assert shim.shim_set_schemes(b"one\0two\0", 8) == 0
    shim.TF_InitPlugin(ctypes.byref(info))
    assert [info.ops[number].scheme for number in range(info.count)] == [b"one", b"two"]
    assert [kind.size for kind in info.ops[0].kinds] == [33 * 8, 2 * 8, 6 * 8, 0]
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return kind(info.ops[0].kinds[0].table[place])


def test_too_many_schemes_are_refused(shim):
    assert shim.shim_set_schemes(b"x" * 300, 300) == -1


def test_a_tensorflow_without_its_library_is_named(tmp_path):
    with pytest.raises(InputError, match="libtensorflow_framework"):
        _abi.status_setter(str(tmp_path))
