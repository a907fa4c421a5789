"""What the bits of a result depend on beside flags and data: libraries, processor, settings."""

from __future__ import annotations

import os
import pathlib
import platform
import re

import numpy as np

from mnist_estimator import __version__
from mnist_estimator.compat import tf
from mnist_estimator.runtime import children, json_files

_CPU_FILE = pathlib.Path("/proc/cpuinfo")
_MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
_INSTRUCTIONS = re.compile(r"^(?:flags|Features)\s*:\s*(.+)$", re.MULTILINE)
# Those by which libraries choose how to multiply and add.
_OF_VECTORS = re.compile(r"(avx|amx|sse4|asimd|sve|bf16|i8mm).*|sme\d?|fma|f16c|fphp")
_SETTINGS = re.compile(
    r"(DNNL|ONEDNN|OMP|MKL|OPENBLAS|CUDNN|CUBLAS|XLA)_\w+|TF_\w*(DNN|XLA|DETERMINISTIC|TF32)\w*"
)


def describe() -> dict[str, str]:
    """What this process computes with, by name; what is not known is left out."""
    found = {
        "mnist_estimator": __version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip(),
        **_processor(_CPU_FILE.read_text(errors="replace") if _CPU_FILE.exists() else ""),
        "cores": str(children.cores()),
        "gpus": ", ".join(_gpus()),
        "settings": " ".join(
            f"{name}={value}"
            for name, value in sorted(os.environ.items())
            if _SETTINGS.fullmatch(name)
        ),
    }
    return {name: value for name, value in found.items() if value and value.isprintable()}


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What is not as it was, as "numpy 2.1.0 (here 2.2.0)"; what only one of them tells, too."""
    return [
        f"{name} {then.get(name, 'unknown')} (here {now.get(name, 'unknown')})"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def checked(value: object, where: str) -> dict[str, str]:
    """Returns what a record says of a machine; raises ValueError that names what is wrong."""
    found: dict[str, str] = json_files.expect(value, dict, where)
    for name, text in found.items():
        json_files.text(name, f"a name of {where}")
        json_files.text(text, f"{where}, {json_files.shown(name)},")
    return found


def _processor(info: str) -> dict[str, str]:
    """The processor's name, and its instructions for vectors, from what Linux says of it."""
    model, instructions = _MODEL.search(info), _INSTRUCTIONS.search(info)
    names = instructions[1].split() if instructions else []
    return {
        "processor": " ".join(model[1].split()) if model else platform.processor(),
        "instructions": " ".join(sorted(filter(_OF_VECTORS.fullmatch, names))),
    }


def _gpus() -> list[str]:
    devices = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in devices]
    return [str(found.get("device_name", "GPU")) for found in details]
