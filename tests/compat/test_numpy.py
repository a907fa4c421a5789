"""Old names of NumPy: there for the program, and for no library that asks for them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mnist_estimator.compat import _numpy

OLD = {*_numpy._SAME, *_numpy._old_names()}
MISSING = sorted(name for name in OLD if name not in vars(np))
CLASSES = (np.ndarray, np.generic)
METHODS = ("itemset", "newbyteorder", "ptp", "tostring")
VALUES = (np.ones(1), np.ndarray, np.float32(1), np.float32)
HAD = {name: [hasattr(value, name) for value in VALUES] for name in METHODS}


@pytest.fixture(scope="module", autouse=True)
def installed():
    """Installed for these tests only, and twice, since a program may do so."""
    before = dict(vars(np))
    methods = {(cls, name): vars(cls).get(name) for cls in CLASSES for name in METHODS}
    _numpy.install(lambda frame: frame.f_globals.get("__file__") == "program.py")
    _numpy.install(lambda frame: True)
    yield before
    # And no other: NumPy imports some of its modules when they are first asked for.
    changed = ("__getattr__", "__dir__", *_numpy._QUANTILES)
    vars(np).update({name: before[name] for name in changed})
    for (cls, name), method in methods.items():
        if vars(cls).get(name) is not method:
            _numpy._set_member(cls, name, method)
    assert {name: [hasattr(value, name) for value in VALUES] for name in METHODS} == HAD


def run(code, file):
    """What `value` is after `code` has run as that of a file."""
    names = {"__file__": file, "__name__": "module"}
    exec(compile(code, file, "exec"), names)
    return names["value"]


def run_program(code):
    return run(code, "program.py")


def run_library(code):
    return run(code, "library.py")


@pytest.mark.parametrize("name", MISSING)
def test_each_old_name_is_there_for_the_program_only(installed, name):
    with warnings.catch_warnings(action="error"):
        value = run_program(f"import numpy as np; value = np.{name}")
        imported = run_program(f"from numpy import {name} as value")
    assert imported is value
    with warnings.catch_warnings(action="ignore"):
        if has_itself(installed, name):  # And warns.
            assert run_library(f"from numpy import {name} as value") is value
            return
        assert not run_library(f"import numpy; value = hasattr(numpy, {name!r})")
        with pytest.raises(ImportError, match=name):
            run_library(f"from numpy import {name} as value")


def has_itself(installed, name):
    try:
        return installed["__getattr__"](name) is not None
    except AttributeError:
        return False


def test_what_numpy_has_is_its_own(installed):
    for name in ("float64", "all", "long", "bool", "Inf", "in1d", "trapz"):
        if name in installed:
            assert run_program(f"import numpy; value = numpy.{name}") is installed[name]
    with pytest.raises(AttributeError, match="nothing"):
        run_program("import numpy; value = numpy.nothing")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("np.zeros(2, np.float).dtype.name", "float64"),
        ("np.array([1.5], dtype=np.int).tolist()", [1]),
        ("np.float is float and np.object is object and np.str is str", True),
        ("(np.Inf, np.infty, np.PINF, -np.NINF)", (np.inf,) * 4),
        ("np.isnan(np.NaN)", True),
        ("np.float_ is np.float64 and np.unicode_ is np.str_ and np.string_ is np.bytes_", True),
        ("np.product([2, 3])", 6),
        ("np.cumproduct([2, 3]).tolist()", [2, 6]),
        ("(np.alltrue([1, 0]), np.sometrue([1, 0]))", (False, True)),
        ("np.asfarray([1, 2]).dtype.name", "float64"),
        ("np.asfarray([1, 2], dtype='int8').dtype.name", "float64"),
        ("np.asfarray([1, 2], dtype='float32').dtype.name", "float32"),
        ("np.in1d([[1, 2], [3, 4]], [2, 4]).tolist()", [False, True, False, True]),
        ("np.in1d([1, 2], [2], invert=True).tolist()", [True, False]),
        ("np.row_stack([[1, 2], [3, 4]]).tolist()", [[1, 2], [3, 4]]),
        ("np.trapz([1.0, 2.0, 3.0], dx=2)", 8.0),
        ("np.msort(np.array([[3, 1], [1, 2]])).tolist()", [[1, 1], [3, 2]]),
        ("np.asscalar(np.array([2.5], 'float32'))", 2.5),
        ("np.alen([1, 2, 3]), np.alen(5)", (3, 1)),
        ("np.rank([[1]])", 2),
        ("(np.issubclass_(int, object), np.issubclass_(1, int))", (True, False)),
        ("np.mat('1 2; 3 4').shape", (2, 2)),
        ("np.safe_eval('[1]')", [1]),
        ("np.quantile([1, 2, 4], 0.6, interpolation='nearest')", 2),
        ("np.percentile([1, 2, 4], 60, interpolation='higher')", 4),
        ("np.nanpercentile([1, np.nan, 4], 50, interpolation='lower')", 1),
        ("np.nanquantile([1, np.nan, 4], 0.5, axis=0, interpolation='midpoint')", 2.5),
        ("np.quantile([1, 2, 4], 0.5)", 2),
        ("np.quantile([1, 2, 4], 0.6, method='nearest')", 2),
    ],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:the matrix subclass:PendingDeprecationWarning"
)
def test_old_names_mean_what_they_did(expression, expected):
    assert run_program(f"import numpy as np; value = {expression}") == expected


def test_quantiles_of_a_library_are_those_of_numpy(installed):
    for name in _numpy._QUANTILES:
        assert run_library(f"import numpy; value = numpy.{name}") is installed[name]
        assert run_library(f"from numpy import {name} as value") is installed[name]
    assert set(dir(np)) >= set(_numpy._QUANTILES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_quantile_by_both_names_of_the_argument():
    with pytest.raises(TypeError, match="method"):
        run_program(
            "import numpy; value = numpy.quantile([1], 0, interpolation='lower', method='higher')"
        )


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("value = a.tostring()", b"\1\2\3\4\5\6"),
        ("value = a.tostring('F')", b"\1\4\2\5\3\6"),
        ("value = a[0, 2].tostring()", b"\3"),
        ("value = (a.ptp(), a.ptp(axis=0).tolist())", (5, [3, 3, 3])),
        ("a.itemset(1, 9); value = a.tolist()", [[1, 9, 3], [4, 5, 6]]),
        ("a.itemset((1, 0), 9); value = a.tolist()", [[1, 2, 3], [9, 5, 6]]),
        ("b = np.zeros((1, 1)); b.itemset(7); value = b.tolist()", [[7]]),
        ("value = np.array([1], '<i2').newbyteorder().tolist()", [256]),
        ("value = np.array([1], '<i2').newbyteorder('<').tolist()", [1]),
        ("value = np.ndarray.tostring(a[0])", b"\1\2\3"),
        ("value = a.view(type('Own', (np.ndarray,), {})).tostring()[:2]", b"\1\2"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_methods_of_arrays(statement, expected):
    array = "a = np.array([[1, 2, 3], [4, 5, 6]], 'u1')"
    assert run_program(f"import numpy as np; {array}; {statement}") == expected


def test_a_number_is_set_in_an_array_of_more(installed):
    with pytest.raises(ValueError):
        run_program("import numpy; value = numpy.zeros(2).itemset(1)")


@pytest.mark.parametrize("name", METHODS)
def test_a_library_finds_no_method_that_numpy_has_not(name):
    code = f"value = lambda values: [hasattr(value, {name!r}) for value in values]"
    assert run_library(code)(VALUES) == HAD[name]
    assert all(run_program(code)(VALUES))
    if not HAD[name][0]:
        with pytest.raises(AttributeError, match=f"{name}"):
            run_library(f"import numpy; numpy.ones(1).{name}")
