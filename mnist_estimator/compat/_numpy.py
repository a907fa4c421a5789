"""Names that NumPy had, for programs that say them."""

from __future__ import annotations

import types
from collections.abc import Callable


def install(is_program: Callable[[types.FrameType], bool]) -> None:
    """Will put them back."""
