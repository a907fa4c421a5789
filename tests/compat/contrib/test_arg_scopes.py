"""Defaults that a block gives to the arguments of functions."""

from __future__ import annotations

import pytest

from mnist_estimator.compat.contrib import arg_scopes
from mnist_estimator.compat.contrib.arg_scopes import add_arg_scope, arg_scope


@add_arg_scope
def one(first, a=1, b=2):
    """One."""
    return first, a, b


@add_arg_scope
def other(a=5):
    return a


def test_the_innermost_block_and_the_caller_win():
    assert one(0) == (0, 1, 2)
    with arg_scope([one, other], a=3):
        assert (one(0), other()) == ((0, 3, 2), 3)
        with arg_scope((one,), b=4):
            assert (one(0), one(0, b=9), other()) == ((0, 3, 4), (0, 3, 9), 3)
            with arg_scope([one], a=7):
                assert one(0) == (0, 7, 4)
        assert one(0) == (0, 3, 2)
    assert (one(0), other()) == ((0, 1, 2), 5)


def test_a_scope_can_be_used_again():
    with arg_scope([one], a=3) as scope:
        pass
    with arg_scope([one], b=8), arg_scope(scope):
        assert one(0) == (0, 3, 2)
        assert arg_scopes.current_arg_scope()[arg_scopes.arg_scope_func_key(one)] == {"a": 3}


def test_an_error_ends_the_block():
    with pytest.raises(KeyError), arg_scope([one], a=3):
        raise KeyError
    assert one(0) == (0, 1, 2)


def test_what_is_decorated():
    assert arg_scopes.has_arg_scope(one) and not arg_scopes.has_arg_scope(len)
    assert arg_scopes.arg_scoped_arguments(one) == ("a", "b")
    assert (one.__name__, one.__doc__) == ("one", "One.")


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="len.*not decorated"), arg_scope([len], a=1):
        pass
    with pytest.raises(TypeError, match="list or tuple"), arg_scope(one, a=1):
        pass
    with pytest.raises(ValueError, match="to use again"), arg_scope({}, a=1):
        pass
