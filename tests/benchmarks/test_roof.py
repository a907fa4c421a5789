"""The roof of a training step, and the share of it that a contender reaches."""

import pytest

from benchmarks.comparison import roof


def record(contender, number, **values):
    key = {"part": "training", "setting": "batch 100", "contender": contender, "round": number}
    return key | {"versions": "v", "values": values}


RECORDS = [
    record("roof, TensorFlow", 0, float32=164.2, bfloat16=300.0, memory=9.168_975_2),
    record("roof, PyTorch", 0, float32=100.0, bfloat16=328.4),
    record("this package", 0, images_per_second=1500.0),
    record("this package, float32", 0, images_per_second=1200.0),
    record("PyTorch, eager", 0, images_per_second=600.0),
    record("PyTorch, compiled, bfloat16", 0, images_per_second=1000.0),
    record("Keras 3, jit", 0, images_per_second=750.0),
]


@pytest.fixture(autouse=True)
def with_bfloat16(monkeypatch):
    monkeypatch.setattr(roof.machine, "has", lambda needed: True)


def test_a_step_takes_the_products_and_the_passes_over_the_weights():
    # 100 images at 2,000 a second, and 91.7 MB at 9.17 GB/s.
    assert roof.seconds_a_step(100, 164.2, 9.168_975_2) == pytest.approx(0.05 + 0.01)


def test_shares_are_of_the_better_roof_of_each_precision():
    text = roof.markdown(RECORDS)
    # float32: 60 ms at least. bfloat16: 25 ms for the products by PyTorch's 328.4, and 10.
    assert "| this package, float32 | 72.0 |" in text
    assert "| this package | 52.5 |" in text
    assert "| PyTorch, eager | 36.0 |" in text
    assert "| PyTorch, compiled, bfloat16 | 35.0 |" in text
    assert "roof, PyTorch |" not in text


def test_the_best_mode_of_each_peer_is_found_for_any_precision_and_for_float32():
    text = roof.markdown(RECORDS)
    assert (
        "| batch 100: PyTorch | PyTorch, compiled, bfloat16 | 1.50 | PyTorch, eager | 2.00 |"
        in text
    )
    assert "| batch 100: Keras | Keras 3, jit | 2.00 | Keras 3, jit | 1.60 |" in text


def test_without_a_roof_nothing_is_said():
    assert roof.markdown([r for r in RECORDS if roof.is_contender(r["contender"])]) == ""
