"""What NumPy removed from 1.20 on, for the code of the program and for no other.

These are names such as `np.float`, methods of arrays such as `tostring`, and the argument
`interpolation` of quantiles. Libraries ask NumPy what it has, to tell its versions apart: to them
it stays as it is. Who asks is told by the frame that looks the name up. Sources: NumPy's release
notes from 1.18 to 2.5.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import dataclasses
import functools
import gc
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

IsProgram = Callable[[types.FrameType], bool]

# The number in what follows is the NumPy that removed it, where it is not 2.0.
# Python's own types: 1.24.
_BUILTINS = ("bool", "complex", "float", "int", "object", "str")
# A name: the name that means the same, below numpy.
_SAME = {
    "AxisError": "exceptions.AxisError",
    "ComplexWarning": "exceptions.ComplexWarning",
    "DataSource": "lib.npyio.DataSource",
    "Inf": "inf",
    "Infinity": "inf",
    "ModuleDeprecationWarning": "exceptions.ModuleDeprecationWarning",
    "NAN": "nan",
    "NaN": "nan",
    "PINF": "inf",
    "RankWarning": "exceptions.RankWarning",
    "TooHardError": "exceptions.TooHardError",
    "VisibleDeprecationWarning": "exceptions.VisibleDeprecationWarning",
    "alltrue": "all",
    "bool8": "bool_",
    "byte_bounds": "lib.array_utils.byte_bounds",
    "bytes0": "bytes_",
    "cfloat": "complex128",
    "clongfloat": "clongdouble",
    "compare_chararrays": "char.compare_chararrays",
    "complex_": "complex128",
    "cumproduct": "cumprod",
    "float_": "float64",
    "infty": "inf",
    "int0": "intp",
    "longcomplex": "clongdouble",
    "longfloat": "longdouble",
    "mat": "asmatrix",
    "object0": "object_",
    "product": "prod",
    "rank": "ndim",
    "round_": "round",
    "row_stack": "vstack",
    "singlecomplex": "complex64",
    "sometrue": "any",
    "str0": "str_",
    "string_": "bytes_",
    "trapz": "trapezoid",
    "typeDict": "sctypeDict",
    "uint0": "uintp",
    "unicode_": "str_",
    "void0": "void",
}
_QUANTILES = ("nanpercentile", "nanquantile", "percentile", "quantile")


def install(is_program: IsProgram) -> None:
    """Has NumPy find the old names for those frames of which `is_program` is true.

    NumPy is imported for it. What it has by itself is not replaced, but for `quantile` and its
    like, where it no longer takes `interpolation`. To call it twice changes nothing more.
    """
    import numpy as np

    if isinstance(vars(np)["__getattr__"], _Answers):
        return
    renewed = {name: vars(np)[name] for name in _QUANTILES if not _interpolates(vars(np)[name])}
    old = {name: value for name, value in _old_names().items() if name not in vars(np)}
    for name, function in renewed.items():
        old[name] = _with_interpolation(function)
        # A name that is not in the module is looked up by __getattr__ each time: the program finds
        # one that takes `interpolation`, and a library NumPy's own.
        delattr(np, name)
    np.__getattr__ = _Answers(np, np.__getattr__, is_program, old, renewed)
    np.__dir__ = functools.partial(_directory, np.__dir__, tuple(renewed))
    release = tuple(int(part) for part in np.__version__.split(".")[:2])
    for cls in (np.ndarray, np.generic):
        for method, removed in _METHODS.items():
            if release >= removed:
                own = vars(cls).get(method.__name__)
                _set_member(cls, method.__name__, _Method(method, is_program, own))


@dataclasses.dataclass(frozen=True)
class _Answers:
    """NumPy's `__getattr__`. `before` is its own."""

    numpy: types.ModuleType
    before: Callable[[str], Any]
    is_program: IsProgram
    old: dict[str, Any]
    renewed: dict[str, Any]

    def __call__(self, name: str) -> Any:
        is_old = name in self.old or name in _SAME
        if not is_old or not self.is_program(_asking_frame()):
            return self.renewed[name] if name in self.renewed else self.before(name)
        if name in self.old:
            return self.old[name]
        return functools.reduce(getattr, _SAME[name].split("."), self.numpy)


@dataclasses.dataclass(frozen=True)
class _Method:
    """A method that an array or a number of NumPy has for the program.

    `own` is what NumPy has by that name, which only raises; or None.
    """

    function: Callable[..., Any]
    is_program: IsProgram
    own: Any

    def __get__(self, array: Any, owner: type) -> Any:
        if not self.is_program(_asking_frame()):
            if self.own is not None:
                return self.own.__get__(array, owner)
            name = self.function.__name__
            raise AttributeError(f"{owner.__name__!r} object has no attribute {name!r}")
        return self.function if array is None else types.MethodType(self.function, array)


def _set_member(cls: type, name: str, value: Any) -> None:
    """Sets an attribute of a class; of one that is written in C, too, where Python refuses it.

    Args:
      value: None to remove it.
    """
    (members,) = gc.get_referents(vars(cls))
    if value is None:
        del members[name]
    else:
        members[name] = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))  # Python has kept what it looked up.


def _asking_frame() -> types.FrameType:
    """The frame that looks up a name of NumPy, or that imports one from it."""
    frame = sys._getframe(2)
    while frame.f_back and _only_imports(frame):
        frame = frame.f_back
    return frame


def _only_imports(frame: types.FrameType) -> bool:
    """Whether a frame is Python's or this package's part in `from numpy import NAME`."""
    module = str(frame.f_globals.get("__name__"))
    return frame.f_code.co_filename.startswith("<frozen importlib") or module.startswith(
        __name__.rpartition(".")[0]
    )


def _old_names() -> dict[str, Any]:
    """What the old names meant that are not in _SAME."""
    names: dict[str, Any] = {name: getattr(builtins, name) for name in _BUILTINS}
    names.update({function.__name__: function for function in _FUNCTIONS})
    infinity = float("inf")
    return names | {
        "NINF": -infinity,
        "NZERO": -0.0,
        "PZERO": 0.0,
        "long": int,
        "safe_eval": ast.literal_eval,
        "unicode": str,
    }


def alen(a: Any) -> int:
    """1.23: the length of an array, 1 of a number."""
    import numpy as np

    return len(np.atleast_1d(a))


def asfarray(a: Any, dtype: Any = None) -> Any:
    """2.0: an array of floating-point or complex numbers."""
    import numpy as np

    inexact = dtype is not None and np.issubdtype(dtype, np.inexact)
    return np.asarray(a, dtype if inexact else np.float64)


def asscalar(a: Any) -> Any:
    """1.23: the number that an array of one has."""
    import numpy as np

    return np.asarray(a).item()


def in1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, invert: bool = False, **kwargs: Any
) -> Any:
    """2.4: which numbers of `ar1`, flattened, are in `ar2`."""
    import numpy as np

    return np.isin(np.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert, **kwargs)


def issubclass_(arg1: Any, arg2: Any) -> bool:
    """2.0: as issubclass; false for what is no class."""
    try:
        return issubclass(arg1, arg2)
    except TypeError:
        return False


def msort(a: Any) -> Any:
    """2.0: a copy, sorted along the first axis."""
    import numpy as np

    return np.sort(a, axis=0)


def itemset(array: Any, *index_and_value: Any) -> None:
    """2.0: sets the number at an index, of all of them in a row or of each axis; or the only one.

    Raises:
      ValueError: if no index is given for an array of more or fewer than one number.
    """
    *index, value = index_and_value
    if index:
        place = array if isinstance(index[0], tuple) else array.flat
        place[index[0]] = value
    elif array.size == 1:
        array.flat[0] = value
    else:
        raise ValueError(f"itemset(value) needs an array of one number; this one has {array.size}")


def newbyteorder(array: Any, new_order: str = "S", /) -> Any:
    """2.0: the same bytes, read in another order."""
    return array.view(array.dtype.newbyteorder(new_order))


def ptp(array: Any, *args: Any, **kwargs: Any) -> Any:
    """2.0: the largest number less the smallest one."""
    import numpy as np

    return np.ptp(array, *args, **kwargs)


def tostring(array: Any, order: str = "C") -> bytes:
    """2.3: the bytes of an array."""
    return array.tobytes(order)


_METHODS = {itemset: (2, 0), newbyteorder: (2, 0), ptp: (2, 0), tostring: (2, 3)}
_FUNCTIONS = (alen, asfarray, asscalar, in1d, issubclass_, msort)


def _interpolates(function: Any) -> bool:
    return "interpolation" in inspect.signature(function).parameters


def _with_interpolation(function: Any) -> Any:
    """`function` with its argument `method` by its first name, `interpolation`, too."""

    @functools.wraps(function)
    def quantile(*args: Any, interpolation: str | None = None, **kwargs: Any) -> Any:
        if interpolation is not None:
            if "method" in kwargs:
                raise TypeError("method and interpolation are given; expected one of them")
            kwargs["method"] = interpolation
        return function(*args, **kwargs)

    return quantile


def _directory(before: Callable[[], list[str]], names: tuple[str, ...]) -> list[str]:
    return sorted({*before(), *names})
