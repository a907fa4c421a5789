"""What the programs of benchmarks/peers share: commands, large files, pictures, measured epochs."""

import importlib
import io
import itertools
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.comparison.children import PEERS

_MODULES = [path.stem for path in PEERS.glob("*.py")]


@pytest.fixture
def peer(monkeypatch):
    """Imports a module of the peers as their programs do, and forgets it afterwards."""
    monkeypatch.syspath_prepend(str(PEERS))
    for name in _MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in _MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def digits(peer, monkeypatch):
    """Three images and their labels, in place of MNIST."""
    images = np.zeros([3, 28, 28], np.uint8)
    for place, image in enumerate(images):
        image[8 : 12 + 2 * place, 10:15] = 200
    labels = np.array([3, 1, 4])
    monkeypatch.setattr(peer("common"), "mnist", lambda split: (images, labels))
    return images, labels


def test_epochs_are_measured_whole_and_after_the_first(peer, monkeypatch, capsys):
    meter = peer("input_meter")
    clock, done = itertools.count(), []
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(meter, "cpu_seconds", lambda: len(done))
    meter.measure(lambda: done.append(100) or 100, 3.0)
    # The clock goes on by 1 whenever it is read: at 0, then after each of 3 epochs, and at the end.
    assert len(done) == 4
    assert capsys.readouterr().out == (
        '{"images_per_second": 75.0, "cpu_seconds_per_million": 10000.0}\n'
    )


def test_a_command_is_measured_with_its_children(peer, monkeypatch):
    monkeypatch.setattr(peer("commands"), "_PEAK_SECS", 0.001)
    touch = "b = bytearray(60_000_000)\nfor _ in range(300): b[::4096] = b'x' * 14649\n"
    both = f"{touch}import subprocess, sys\nsubprocess.run([sys.executable, '-c', {touch!r}])"
    ran = peer("commands").run([sys.executable, "-c", both])
    # Each of the two has 57 MiB, and an interpreter of some 10.
    assert ran.peak_mib > 120 and ran.seconds > 0 < ran.cpu


def test_a_command_that_ends_otherwise_is_named(peer):
    program = "import sys; sys.exit('no such flag')"
    with pytest.raises(SystemExit, match="exit code 1: no such flag"):
        peer("commands").run([sys.executable, "-c", program])
    assert peer("commands").run([sys.executable, "-c", program], code=1).err == "no such flag\n"


def test_a_command_is_ended_when_it_has_said_what_is_waited_for(peer):
    program = "import sys, threading; print('step 1', file=sys.stderr, flush=True); "
    endless = [sys.executable, "-c", f"{program}threading.Event().wait(60)"]
    assert 0 < peer("commands").run(endless, until="step 1").seconds < 60
    with pytest.raises(SystemExit, match="ended without 'step 2'"):
        peer("commands").run([sys.executable, "-c", program], until="step 2")


@pytest.mark.usefixtures("digits")
def test_a_large_file_is_the_same_each_time(peer, monkeypatch, tmp_path):
    large = peer("large_idx")
    monkeypatch.setattr(large, "_CHUNK", 8)
    written = []
    for name in ("a", "b"):
        monkeypatch.setattr(large.common, "WORK", tmp_path / name)
        large.written(20)
        place = large.folder(20)
        written.append([(place / kind).read_bytes() for kind in ("images", "labels")])
        assert sorted(path.name for path in place.iterdir()) == ["images", "labels"]
    assert written[0] == written[1]
    images, labels = written[0]
    assert images[:16] == np.array([2051, 20, 28, 28], ">i4").tobytes() and len(images) == 15_696
    assert labels[:8] == np.array([2049, 20], ">i4").tobytes() and set(labels[8:]) == {1, 3, 4}
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(20, 784)
    # The digits have 20, 30 and 40 pixels of ink: each lies beside its own label.
    ink = {3: 20, 1: 30, 4: 40}
    assert [ink[label] for label in labels[8:]] == (pixels > 0).sum(axis=1).tolist()


@pytest.mark.usefixtures("digits")
def test_a_large_file_without_room_is_not_begun(peer, monkeypatch, tmp_path):
    large = peer("large_idx")
    monkeypatch.setattr(large.common, "WORK", tmp_path)
    with pytest.raises(SystemExit, match=r"GB free, expected 1785000000\.0 GB"):
        large.written(10**15)
    assert not list(large.folder(10**15).iterdir())


def test_pillow_makes_of_a_picture_what_the_network_reads(peer, digits):
    files, labels = peer("pictures").made(3)
    image = Image.open(io.BytesIO(files[2]))
    assert image.size == (280, 280) and image.getpixel((0, 0)) == 255
    assert image.getpixel((120, 100)) == 55 and labels.tolist() == digits[1].tolist()
    prepared = peer("pillow_digits").prepared(files[2])
    assert prepared.shape == (28, 28, 1) and prepared.dtype == np.uint8
    rows, columns = np.nonzero(prepared[..., 0])
    assert np.ptp(rows) + 1 == 20 and abs(rows.mean() - 13.5) <= 0.5 >= abs(columns.mean() - 13.5)
    blank = np.full([280, 280], 255, np.uint8)
    assert not peer("pillow_digits").prepared(peer("pictures")._png(blank)).any()


def test_clients_ask_at_once(peer):
    asked = []
    clients = peer("clients")
    answered, passed, _ = clients.together(lambda: asked.append(1), 0.05)
    assert answered == len(asked) >= 2 and passed > 0
    assert len(clients.times(lambda: None, 0.0)) == 3


def test_every_start_of_the_part_is_known(peer):
    from benchmarks.comparison import start_up

    assert set(start_up._ROWS.values()) == set(peer("start_up").COMMANDS)
