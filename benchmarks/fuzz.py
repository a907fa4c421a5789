"""Feeds damaged and random bytes to the readers of IDX files, shards and manifests.

  python benchmarks/fuzz.py --minutes=10 --seed=0 [--only=NUMBER]

Each input follows from the seed and its number alone; `--only` repeats one. What is no result and
no named error, or takes more than 5 seconds, is printed and makes the exit status 1.

Left out are records with a length beyond the memory and the right checksum of it, which no damage
brings about: TensorFlow's reader makes room for one before it looks for it, and ends the process.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mnist_estimator import InputError, idx, records, sources
from mnist_estimator.compat import tf

_LIMIT_SECS, _REPORT_SECS = 5, 10
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_LENGTHS = (*_NUMBERS, 2**63 - 4, 2**63, 2**64 - 5, 2**64 - 1)
_VALUES = (*_NUMBERS, -1, 2**63, 1e308, 1.5, True, None, "", "a", "\ud800", "\n", [], {}, [0])


class _TooLong(BaseException):
    """Not an Exception, so that no reader can take it for one of its own."""

    @classmethod
    def stop(cls, *_: object) -> None:
        raise cls


class Fuzz:
    """The valid files, how they are damaged, and how each is read."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._shard = folder, folder / "a.tfrecord"
        self._idx = [_idx(np.arange(60).reshape(5, 4, 3).astype(t)) for t in ("u1", "i2", "f8")]
        (folder / "images").write_bytes(self._idx[0])
        (folder / "labels").write_bytes(_idx(np.arange(5, dtype=np.uint8) % 3))
        self._idx += [gzip.compress(data, mtime=0) for data in self._idx]
        paths = {f"train_{name}": str(folder / name) for name in ("images", "labels")}
        whole = sources.from_idx(paths).write(str(folder), shards=1, validation_split="0")
        self._records = (folder / whole.splits["train"][0].file).read_bytes()
        self._manifest = (folder / records.MANIFEST).read_bytes()
        with tf.io.TFRecordWriter(str(self._shard)) as file:
            for length in _LENGTHS:
                file.write(length.to_bytes(8, "little"))
        data = self._shard.read_bytes()
        # Each of these records ends as one of that length begins: with the length, its checksum.
        self._lengths = [data[at + 12 : at + 24] for at in range(0, len(data), 24)]

    def run(self, seed: int, number: int) -> str:
        """Reads one input; returns the reader and what came of it: an error's name or "result"."""
        dice = random.Random(f"{seed} {number}")
        kind = dice.choice(["idx", "shard", "manifest"])
        # Should the process end, this tells by which input.
        (self._folder / "number").write_text(f"{seed} {number} {kind}")
        try:
            self._read(kind, self._input(dice, kind))
        except InputError as error:
            return f"{kind:9}{type(error).__name__}"
        return f"{kind:9}result"

    def _input(self, dice: random.Random, kind: str) -> bytes:
        if dice.random() < 0.1:
            start = dice.choice([b"", b"\0\0\x08\x01", b"\x1f\x8b\x08", b"{"])
            return start + dice.randbytes(dice.randrange(300))
        data = {"idx": dice.choice(self._idx), "shard": self._records}.get(kind, self._manifest)
        if kind == "shard" and dice.random() < 0.3:
            data = dice.choice(self._lengths) + data[12:]
        if kind == "manifest" and dice.random() < 0.5:
            data = self._edited_manifest(dice)
        for _ in range(dice.randrange(4)):
            data = _damaged(dice, data)
        # Damage inside of whole gzip data gets past its checksum.
        return gzip.compress(data, 1) if kind == "idx" and dice.random() < 0.3 else data

    def _edited_manifest(self, dice: random.Random) -> bytes:
        """With another value somewhere; its digest is right, and so not all that is found wrong."""
        nodes = []
        top = json.loads(self._manifest, object_hook=lambda node: nodes.append(node) or node)
        node = dice.choice(nodes)
        node[dice.choice([*node])] = dice.choice(_VALUES)
        rest = {name: value for name, value in top.items() if name != records.DIGEST}
        return json.dumps(top | {records.DIGEST: records.json_digest(rest)}).encode()

    def _read(self, kind: str, data: bytes) -> None:
        if kind == "shard":
            self._shard.write_bytes(data)
            list(records.read_records(str(self._shard)))
        elif kind == "manifest":
            (self._folder / records.MANIFEST).write_bytes(data)
            records.read_manifest(str(self._folder))
        elif _idx(idx.read_idx(io.BytesIO(data), name="a")) != data and data[:1] == b"\0":
            raise AssertionError("read as another array than it holds")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    flags = parser.parse_args()
    signal.signal(signal.SIGALRM, _TooLong.stop)
    numbers = itertools.count() if flags.only is None else [flags.only]
    with tempfile.TemporaryDirectory() as folder:
        counts = _run(Fuzz(Path(folder)), flags.seed, numbers, flags.minutes * 60)
    print(*(f"{outcome:31}{count:12,}" for outcome, count in sorted(counts.items())), sep="\n")
    return int(counts["broken"] > 0)


def _run(fuzz: Fuzz, seed: int, numbers: Iterable[int], seconds: float) -> Counter:
    counts, start, reported = Counter(broken=0), time.monotonic(), 0
    for number in numbers:
        elapsed = time.monotonic() - start
        if elapsed >= min(reported + _REPORT_SECS, seconds):
            print(f"{elapsed:.0f} s: {number:,} inputs, {counts['broken']} broken", flush=True)
            reported = elapsed
        if elapsed >= seconds:
            break
        try:
            signal.alarm(_LIMIT_SECS)
            counts[fuzz.run(seed, number)] += 1
        except (Exception, _TooLong):
            counts["broken"] += 1
            print(f"--seed={seed} --only={number}:\n{traceback.format_exc()}", flush=True)
        signal.alarm(0)
    return counts


def _idx(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    idx.write_idx(file, array)
    return file.getvalue()


def _damaged(dice: random.Random, data: bytes) -> bytes:
    first, last = sorted(dice.choices(range(len(data) + 1), k=2))
    flipped = bytes(byte ^ 1 << dice.randrange(8) for byte in data[first : first + 1])
    number = dice.choice(_NUMBERS).to_bytes(4, dice.choice(["big", "little"]))
    field = dice.randrange(0, 64, 4)  # Most headers are as long.
    ways = [
        data[:first] + flipped + data[first + 1 :],
        data[:first] + dice.randbytes(dice.randrange(20)) + data[last:],
        data[:first],
        data[:last] + data[first:],
        data[:first] + number + data[first + 4 :],
        data[:field] + number + data[field + 4 :],
    ]
    return dice.choice(ways)


if __name__ == "__main__":
    sys.exit(main())
