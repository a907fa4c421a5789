"""Feeds damaged and random bytes to the readers of data, pictures and files of runs.

  python benchmarks/fuzz.py --minutes=10 --seed=0 [--only=NUMBER] [--inputs=NUMBER]
  python benchmarks/fuzz.py --kinds=shard,framing
  python benchmarks/fuzz.py --of=run_files --inputs=100000

The seed, its number and the kinds determine each input; `--only` repeats one. An input that gives
neither a result nor a named error, or takes more than 5 seconds, is printed and makes the exit
status 1. At the end the peak memory of the process is printed.

The framing kind writes wrong lengths into a shard, with the right checksums. Random damage never
does so, and TensorFlow's reader allocates memory for a record before it reads it. Pictures are
checked by the standard library, and also sent to the graph of an export, which has to withstand
them without that check.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import itertools
import json
import logging
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import idx, records, sources
from mnist_estimator.data.manifest import DIGEST, MANIFEST, DatasetError, read_manifest
from mnist_estimator.pictures import picture_files, preparation
from mnist_estimator.reporting import panels
from mnist_estimator.runs import checkpoints, lock, status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runs.layout import METRICS_FILE
from mnist_estimator.runs.record import read_run, write_run
from mnist_estimator.runtime import files, json_files, streams
from mnist_estimator.serving import predictors

_LIMIT_SECS, _REPORT_SECS = 5, 10
_MOST_MIB, _MOST_LINE = 100, 2000
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_LENGTHS = (*_NUMBERS, 2**33, 2**40, 2**50, 2**62, 2**63 - 4, 2**63, 2**64 - 5, 2**64 - 1)
_KINDS = ("idx", "shard", "manifest", "framing", "picture")
_SIDES = (0, 1, 2, 7, 8, 9, 255, 256, 7071, 7072, 50_000, 65_500, 65_535, 2**31 - 1, 2**32 - 1)
_VALUES = (*_NUMBERS, -1, 2**63, 1e308, 1.5, True, None, "", "a", "\ud800", "\n", [], {}, [0])


class _TooLong(BaseException):
    """Not an Exception, so that no reader handles it as one of its own."""

    @classmethod
    def stop(cls, *_: object) -> None:
        raise cls


class Fuzz:
    """The valid files, how they are damaged, and how each is read."""

    def __init__(self, folder: Path, kinds: Sequence[str] = _KINDS) -> None:
        self._kinds, self._pictures = kinds, _Pictures()
        self._folder, self._shard = folder, folder / "a.tfrecord"
        self._idx = [_idx(np.arange(60).reshape(5, 4, 3).astype(t)) for t in ("u1", "i2", "f8")]
        (folder / "images").write_bytes(self._idx[0])
        (folder / "labels").write_bytes(_idx(np.arange(5, dtype=np.uint8) % 3))
        self._idx += [gzip.compress(data, mtime=0) for data in self._idx]
        paths = {f"train_{name}": str(folder / name) for name in ("images", "labels")}
        whole = sources.from_idx(paths).write(str(folder), shards=1, validation_split="0")
        self._records = (folder / whole.splits["train"][0].file).read_bytes()
        self._manifest = (folder / MANIFEST).read_bytes()
        with tf.io.TFRecordWriter(str(self._shard)) as file:
            for length in _LENGTHS:
                file.write(length.to_bytes(8, "little"))
        data = self._shard.read_bytes()
        # Each of these records ends as one of that length begins: with the length, its checksum.
        self._lengths = [data[at + 12 : at + 24] for at in range(0, len(data), 24)]

    def run(self, seed: int, number: int) -> str:
        """Reads one input; returns the reader and what came of it: an error's name or "result"."""
        dice = random.Random(f"{seed} {number}")
        kind = dice.choice(self._kinds)
        # If the process ends, this says at which input.
        (self._folder / "number").write_text(f"{seed} {number} {kind}")
        try:
            self._read(kind, self._input(dice, kind))
        except InputError as error:
            return f"{kind:9}{type(error).__name__}"
        return f"{kind:9}result"

    def _input(self, dice: random.Random, kind: str) -> bytes:
        if dice.random() < 0.1:
            start = dice.choice([b"", b"\0\0\x08\x01", b"\x1f\x8b\x08", b"{", *_MAGIC])
            return start + dice.randbytes(dice.randrange(300))
        if kind == "framing":
            return _framed(dice, self._records, self._lengths)
        if kind == "picture":
            return self._pictures.damaged(dice)
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
        rest = {name: value for name, value in top.items() if name != DIGEST}
        return json.dumps(top | {DIGEST: json_files.digest(rest)}).encode()

    def _read(self, kind: str, data: bytes) -> None:
        if kind == "shard":
            self._shard.write_bytes(data)
            list(records.read_records(str(self._shard)))
        elif kind == "framing":
            self._verify(data)
        elif kind == "picture":
            self._pictures.read(data)
        elif kind == "manifest":
            (self._folder / MANIFEST).write_bytes(data)
            read_manifest(str(self._folder))
        elif _idx(idx.read_idx(io.BytesIO(data), name="a")) != data and data[:1] == b"\0":
            raise AssertionError("read as another array than it holds")

    def _verify(self, data: bytes) -> None:
        """Reads a shard that its manifest vouches for."""
        manifest = json.loads(self._manifest)
        (shard,) = manifest["splits"]["train"]
        (self._folder / shard["file"]).write_bytes(data)
        shard["bytes"], shard["sha256"] = len(data) or 1, hashlib.sha256(data).hexdigest()
        del manifest[DIGEST]
        manifest[DIGEST] = json_files.digest(manifest)
        (self._folder / MANIFEST).write_text(json.dumps(manifest))
        problems = records.verify(str(self._folder))
        if problems:
            raise DatasetError(problems[0])


def _framed(dice: random.Random, whole: bytes, headers: Sequence[bytes]) -> bytes:
    """A shard in which some records begin as others of any length do, or that ends so."""
    starts, place = [], 0
    while place < len(whole):
        starts.append(place)
        place += 16 + int.from_bytes(whole[place : place + 8], "little")
    data = bytearray(whole)
    for start in dice.choices([*starts, len(whole)], k=dice.randrange(1, 3)):
        data[start : start + 12] = dice.choice(headers)
    return bytes(data) if dice.random() < 0.7 else _damaged(dice, bytes(data))


class _Pictures:
    """Small files of pictures, and the graph of an export that they are asked of."""

    def __init__(self) -> None:
        noise = np.random.default_rng(0).integers(256, size=(9, 11, 3), dtype=np.uint8)
        grey = Image.fromarray(noise[..., 0])
        forms = [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {})]
        forms += [("BMP", {}), ("JPEG", {"restart_marker_blocks": 1})]
        made = [(Image.fromarray(noise), *form) for form in forms]
        made += [(grey, *form) for form in forms] + [(grey.convert("1"), "GIF", {})]
        self._files = [_saved(*picture) for picture in made]
        with tf.Graph().as_default() as graph:
            fed = v1.placeholder(tf.string, [None])
            problems = preparation.problems(fed)
            images = preparation.plain_images(fed, (28, 28, 3))
        session = v1.Session(graph=graph)
        self._problems = session.make_callable(problems, [fed])
        self._images = session.make_callable(images, [fed])
        self._images(self._files)  # The first call is slow.

    def damaged(self, dice: random.Random) -> bytes:
        """With other numbers in the header, and all else as it was, or nearly."""
        data = bytearray(dice.choice(self._files))
        for _ in range(dice.randrange(1, 4)):
            place, size = _field(dice, data), dice.choice([1, 2, 2, 4, 4])
            number = dice.choice(_SIDES + _NUMBERS) % 256**size
            data[place : place + size] = number.to_bytes(size, dice.choice(["big", "little"]))
        if data.startswith(_MAGIC[0]):
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        return bytes(data) if dice.random() < 0.7 else _damaged(dice, bytes(data))

    def read(self, data: bytes) -> None:
        """Raises InputError where something is wrong with a picture."""
        found = picture_files.problem(data)
        if not found:
            picture_files.image_shape(data)
        try:
            (problem,) = self._problems([data])
            if not problem:
                self._images([data])
        except tf.errors.InvalidArgumentError as error:
            raise InputError("cannot be decoded") from error
        if problem or found:
            raise InputError(found or problem.decode())


_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM")


def _saved(image: Image.Image, form: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _field(dice: random.Random, data: bytes) -> int:
    """A place in the header of a picture."""
    markers = [data.find(b"\xff" + bytes([marker])) for marker in (0xC0, 0xC2, 0xDA, 0xDD)]
    if data.startswith(_MAGIC[1]) and dice.random() < 0.8:
        return dice.choice([marker for marker in markers if marker > 0]) + dice.randrange(2, 20)
    return dice.randrange(4, 60)


class RunFuzz:
    """The same for the files of a run and of an export: JSON, TensorFlow's list, seals, names.

    Each has to give a value, or an error of one line. Memory is this process's largest, which
    never falls: what an input has taken more than those before it counts against it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._peak = folder, _peak_mib()
        self._valid = _run_files(folder)
        self._read: dict[str, Callable[[str], object]] = {
            "run.json": read_run,
            "evaluations.json": _read_evaluations,
            "metrics.json": panels._recorded,
            "status.json": status.read,
            "manifest.json": read_manifest,
            ".trainer": _read_lock,
            "checkpoint": checkpoints.newest_whole,
            "model.ckpt-5.sha256": checkpoints.newest_whole,
            "assets.extra/model.json": predictors._pictures_of,
            "assets/class_names.txt": predictors._class_names_of,
        }

    def run(self, seed: int, number: int) -> str:
        """As `Fuzz.run`."""
        dice = random.Random(f"{seed} {number}")
        kind = dice.choice([*self._valid])
        path = self._folder / kind
        (self._folder / "number").write_text(f"{seed} {number} {kind}")
        path.write_bytes(self._input(dice, kind))
        try:
            found = "nothing" if self._read[kind](str(self._folder)) is None else "result"
        except (InputError, RunError) as error:
            _check_line(str(error))
            found = type(error).__name__
        finally:
            path.write_bytes(self._valid[kind])
        more, self._peak = _peak_mib() - self._peak, _peak_mib()
        if more > _MOST_MIB:
            raise AssertionError(f"{more} MiB more than before")
        return f"{kind:25}{found}"

    def _input(self, dice: random.Random, kind: str) -> bytes:
        data = self._valid[kind]
        if kind.endswith(".json") and dice.random() < 0.7:
            top = json.loads(data)
            for _ in range(dice.randrange(1, 4)):
                top = _edited(dice, top)
            if isinstance(top, dict) and DIGEST in top and dice.random() < 0.8:
                rest = {name: value for name, value in top.items() if name != DIGEST}
                top[DIGEST] = json_files.digest(rest)
            data = json.dumps(top, ensure_ascii=dice.random() < 0.8).encode(errors="replace")
            if dice.random() < 0.1:
                data = data.replace(b"0", dice.choice(_TOKENS), 1)
        else:
            for _ in range(dice.randrange(1, 4)):
                data = _damaged(dice, data)
        if dice.random() < 0.02:
            depth = dice.choice([5, 100, 5000, 100_000])
            data = b'{"a":' * depth + data + b"}" * depth
        if dice.random() < 0.002:
            data = dice.choice([b"[]", b"0,", b'{"":', b'"a",', b"1e9,"]) * 200_000 + data
        return data


# What stands for a number or a text in the place of a 0.
_TOKENS = (b"9" * 5000, b"1e999", b"-1e400", b"NaN", b"Infinity", b"0." + b"1" * 10_000)
_TOKENS += (b'"\\ud800"', b'"\xff"', b'"a\\u0000b"', b"[" * 3000, b"\xef\xbb\xbf0")
_TEXTS = ("\x1b[2J", "a\nb", "\u202e", "\u2028", "\ufffe", "x" * 100_000, "../../etc", "mine:net")


def _edited(dice: random.Random, top: Any) -> Any:
    """A value of JSON with another one somewhere in it, or one less, or one twice, or deeper."""
    holders = [node for node in _nodes(top) if isinstance(node, (dict, list)) and node]
    other = dice.choice([*_VALUES, *_TEXTS, 10**12, 10**30, -(2**63), 1e-320, {"a": {}}, [[0]]])
    if not holders:
        return other
    node = dice.choice(holders)
    key = dice.choice([*node] if isinstance(node, dict) else range(len(node)))
    way = dice.randrange(5)
    if way == 0:
        del node[key]
    elif way == 1:
        node[key] = {"a": node[key]} if dice.random() < 0.5 else [node[key]] * 3
    elif way == 2 and isinstance(node, dict):
        node[dice.choice([*_TEXTS, "a", ""])] = node[key]
    elif way == 3 and isinstance(node, list):
        node.insert(key, other)
    else:
        node[key] = other
    return top


def _nodes(top: Any) -> Iterator[Any]:
    ahead = [top]
    while ahead:
        node = ahead.pop()
        yield node
        ahead += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _run_files(folder: Path) -> dict[str, bytes]:
    """Makes the files of a run, an export and a dataset in one folder; name -> content."""
    for name in ("assets", "assets.extra"):
        (folder / name).mkdir()
    (folder / "images").write_bytes(_idx(np.arange(60, dtype=np.uint8).reshape(5, 4, 3)))
    (folder / "labels").write_bytes(_idx(np.arange(5, dtype=np.uint8) % 3))
    paths = {f"train_{name}": str(folder / name) for name in ("images", "labels")}
    manifest = sources.from_idx(paths).write(str(folder), shards=1, validation_split="0")
    write_run(TrainConfig(model_dir=str(folder)), manifest)
    for step in (5, 10):
        path = str(folder / f"{checkpoints.BASENAME}-{step}")
        with tf.Graph().as_default(), v1.Session() as session:
            v1.get_variable("a", initializer=1.0)
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, path, write_state=False, write_meta_graph=False)
        checkpoints.seal(path)
        checkpoints.point_to(path)
    (folder / f"{checkpoints.BASENAME}-10.data-00000-of-00001").unlink()  # So the other is read.
    result = {"accuracy": 0.5, "loss": float("inf"), "examples": 7, "global_step": 5}
    Evaluations(str(folder)).add(result, str(folder / f"{checkpoints.BASENAME}-5"))
    files.write_json(str(folder / METRICS_FILE), result | {"loss": 1.5, "recall": [0.5, 0.25]})
    status.Recorder(str(folder), has_evaluator=False).write(status.DONE, 0, "because")
    with lock.held(str(folder)):
        pass
    files.write_json(str(folder / "assets.extra/model.json"), {"pictures": "digit", "a": [1, 2]})
    (folder / "assets/class_names.txt").write_text("0\n1\nü\n")
    names = ["run.json", "evaluations.json", "metrics.json", "status.json", "manifest.json"]
    names += [".trainer", "checkpoint", f"{checkpoints.BASENAME}-5.sha256"]
    names += ["assets.extra/model.json", "assets/class_names.txt"]
    return {name: (folder / name).read_bytes() for name in names}


def _read_evaluations(folder: str) -> str:
    found = Evaluations(folder)
    found.stops_at(5, 1)
    return found.best_checkpoint


def _read_lock(folder: str) -> object:
    owner = lock._read(f"{folder}/{lock.LOCK_FILE}") or {}
    lock._is_gone(owner)
    _check_line(str(lock._locked(folder, owner)))
    return owner or None


def _check_line(line: str) -> None:
    shown = streams.printable(line)
    if len(shown.splitlines()) != 1 or len(shown) > _MOST_LINE:
        raise AssertionError(f"an error of {len(shown)} characters: {shown[:500]}")


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    parser.add_argument("--inputs", type=int, help="stop after so many")
    parser.add_argument("--of", choices=("readers", "run_files"), default="readers")
    parser.add_argument("--kinds", default=",".join(_KINDS), help="of the readers' inputs")
    flags = parser.parse_args()
    signal.signal(signal.SIGALRM, _TooLong.stop)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # As the commands do.
    all_numbers = range(flags.inputs) if flags.inputs else itertools.count()
    numbers = all_numbers if flags.only is None else [flags.only]
    with tempfile.TemporaryDirectory() as folder:
        if flags.of == "run_files":
            fuzz = RunFuzz(Path(folder))
        else:
            fuzz = Fuzz(Path(folder), flags.kinds.split(","))
        counts = _run(fuzz, flags.seed, numbers, flags.minutes * 60)
    print(f"largest memory: {_peak_mib():,} MiB")
    print(*(f"{outcome:41}{count:12,}" for outcome, count in sorted(counts.items())), sep="\n")
    return int(counts["broken"] > 0)


def _run(fuzz: Fuzz | RunFuzz, seed: int, numbers: Iterable[int], seconds: float) -> Counter:
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
