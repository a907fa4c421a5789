"""Describes the machine on which is measured."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from benchmarks.comparison.parts import BFLOAT16

# What decides how fast products of matrices are.
_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16")
_IN_HARDWARE = {"avx512_bf16", "amx_bf16"}


def describe(threads: int) -> list[str]:
    """Lines about the processor, the memory and the system."""
    memory = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    return [
        f"Processor: {processor()}",
        f"Cores: {os.cpu_count()}, of which each contender gets {threads}",
        f"Memory: {int(memory[1]) / 2**20:.0f} GiB" if memory else "Memory: unknown",
        f"System: {platform.system()} {platform.release()}",
    ]


def processor() -> str:
    """The processor's name, and what of it decides how fast products of matrices are."""
    model = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    flags = [flag for flag in _FLAGS if flag in _flags()]
    return (
        f"{model[1] if model else platform.machine()}, with "
        f"{', '.join(flags) or 'none of the usual flags'}"
    )


def has(needed: str) -> bool:
    """Whether the machine has what a task needs."""
    return needed != BFLOAT16 or bool(_flags() & _IN_HARDWARE)


def _flags() -> set[str]:
    found = re.search(r"flags\s*:\s*(.+)", _read("/proc/cpuinfo"))
    return set(found[1].split()) if found else set()


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
