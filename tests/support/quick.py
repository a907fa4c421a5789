"""What `pytest --quick` leaves out: it skips each test at the moment that it would take long."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest


def skip_what_takes_long(patch: pytest.MonkeyPatch) -> None:
    """Skips every test, from now on, that starts a program or trains.

    A fixture that does so skips all tests that use it. Nothing has to be marked, so that no mark
    can be missing or out of date.
    """
    # Its import starts a process, too, which keeps it quiet.
    from mnist_estimator.compat import estimator

    def skip(what: str) -> Any:
        def skipped(*args: Any, **options: Any) -> None:
            pytest.skip(f"--quick: {what}")

        return skipped

    patch.setattr(subprocess.Popen, "_execute_child", skip("starts a program"))
    patch.setattr(estimator.Estimator, "train", skip("trains"))
