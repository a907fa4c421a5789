"""Measures the memory of a process that answers `predict_images` again and again.

  python benchmarks/predict_memory.py [--calls=100000] [--pictures=digit]

Each call sends one small picture of any format: whole, cut off, damaged, with a header that
declares gigapixels, or no picture at all. A network with fresh weights answers, in the graph that
an export has. Every 5,000 calls the memory of the process is printed, and at the end its growth per
call over the last half.
"""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.pictures import methods
from mnist_estimator.serving import signatures

_CALLS = flags.DEFINE_integer("calls", 100_000, "How many to make.", lower_bound=20_000)
_PICTURES = flags.DEFINE_enum("pictures", methods.DIGIT, methods.PICTURES, "How to prepare them.")

_EVERY = 5_000
_FORMS = ("PNG", "JPEG", "GIF", "BMP")


def main(_: list[str]) -> None:
    """Measures and prints."""
    pool, dice, outcomes = pictures(), random.Random(0), Counter()
    names = tuple(map(str, range(10)))
    data = TrainedOn((28, 28, 1), 10, names, 255, _PICTURES.value, "0" * 64)
    params = TrainConfig(model="cnn").model_params(data)
    with tf.Graph().as_default(), v1.Session() as session:
        signature = signatures.build([signatures.PREDICT_IMAGES], params, data)[
            signatures.PREDICT_IMAGES
        ]
        session.run(v1.global_variables_initializer())
        fed = signature.inputs[signatures.IMAGE_BYTES]
        measured, started = [], time.monotonic()
        for call in range(1, _CALLS.value + 1):
            try:
                answer = session.run(signature.outputs, {fed: [dice.choice(pool)]})
                outcomes["problem" if answer[signatures.PROBLEM][0] else "answer"] += 1
            except tf.errors.InvalidArgumentError:
                outcomes["error"] += 1
            if call % _EVERY == 0:
                measured.append(resident_bytes())
                seconds = time.monotonic() - started
                print(
                    f"{call:,} calls, {seconds:.0f} s: {measured[-1] / 2**20:.1f} MiB", flush=True
                )
    print(*(f"{outcome}: {count:,}" for outcome, count in sorted(outcomes.items())), sep="\n")
    half = len(measured) // 2
    growth = (measured[-1] - measured[half]) / (_EVERY * (len(measured) - 1 - half))
    print(f"over the last half: {growth:+.1f} bytes a call")


def pictures() -> list[bytes]:
    """Some hundred files, the same ones each time."""
    dice, generator = random.Random(0), np.random.default_rng(0)
    pool = [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"BM"]
    for form in _FORMS:
        for side in (1, 9, 28, 64, 120):
            pixels = generator.integers(200, 256, size=(side, side + 3, 3), dtype=np.uint8)
            pixels[side // 4 : side // 2, side // 3 : side // 2] //= 4
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, form)
            whole = file.getvalue()
            flipped = bytearray(whole)
            flipped[dice.randrange(len(whole) // 2, len(whole))] ^= 0x10
            pool += [whole, whole, whole, bytes(flipped), whole[: 2 * len(whole) // 3]]
            if form == "PNG":
                pool.append(whole[:16] + b"\0\1\0\0" * 2 + whole[24:])
    return pool


def resident_bytes() -> int:
    """What the process holds in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status: no VmRSS")


if __name__ == "__main__":
    app.run(main)
