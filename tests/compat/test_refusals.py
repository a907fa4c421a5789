"""What cannot do what its name says: imported and subclassed in silence, called with an error."""

from __future__ import annotations

import pytest

from mnist_estimator import RunError
from mnist_estimator.compat import _refusals

MESSAGE = "^old.module.thing is not there: it has gone; do this$"


def test_a_function_raises_when_it_is_called():
    function = _refusals.refusing_function("old.module.thing", "it has gone; do this")
    assert (function.__module__, function.__name__) == ("old.module", "thing")
    with pytest.raises(RunError, match=MESSAGE):
        function(1, two=2)


def test_a_class_raises_when_an_object_of_it_is_made():
    refused = _refusals.refusing_class("old.module.thing", "it has gone; do this")

    class Own(refused):
        def __init__(self):
            raise AssertionError("not reached")

    assert not isinstance(3, refused) and issubclass(Own, refused)
    assert (refused.__module__, refused.__qualname__) == ("old.module", "thing")
    for each in (refused, Own):
        with pytest.raises(RunError, match=MESSAGE):
            each()
