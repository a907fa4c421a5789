"""Flips a bit of a weight in the midst of training, as broken memory does."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import v1
from mnist_estimator.training import loop

BIT = 1 << 12  # Of a float32's 23 bits behind the point: a change of less than a thousandth.


class Flip(v1.train.SessionRunHook):
    """Flips one bit of the first weight of the last kernel after so many steps."""

    def __init__(self, after: int) -> None:
        self._after = after

    def begin(self) -> None:
        kernels = [v for v in v1.trainable_variables() if v.op.name.endswith("kernel")]
        self._kernel, self._value = kernels[-1], kernels[-1].read_value()
        self._given = v1.placeholder(self._value.dtype, self._value.shape)
        self._put = self._kernel.assign(self._given, read_value=False)

    def after_run(self, run_context, run_values) -> None:
        self._after -= 1
        if not self._after:
            session = run_context.session
            value = session.run(self._value)
            value.reshape(-1).view(np.uint32)[0] ^= BIT
            session.run(self._put, {self._given: value})


def plant(patch: pytest.MonkeyPatch, after: int) -> None:
    """Has the trainings of this process flip a bit after so many steps of theirs."""
    made = loop._hooks
    patch.setattr(loop, "_hooks", lambda *given: [Flip(after), *made(*given)])
