"""What a run's record tells of the machine, and what is different about another one."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator import __version__
from mnist_estimator.compat import tf
from mnist_estimator.runs import machine

INTEL = """processor\t: 0
model name\t: Intel(R)  Xeon(R) CPU
flags\t\t: fpu sse sse2 sse4_2 fma avx avx2 avx512_bf16 amx_tile f16c smep hypervisor
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd aes asimddp sve i8mm bf16\n"


def test_this_machine_is_described(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET_KEY", "x")
    found = machine.describe()
    assert found["tensorflow"] == tf.__version__
    assert found["numpy"] == np.__version__
    assert found["mnist_estimator"] == __version__
    assert int(found["cores"]) > 0
    assert {"OMP_NUM_THREADS=3", "TF_ENABLE_ONEDNN_OPTS=1"} <= set(found["settings"].split())
    assert "SECRET" not in found["settings"]
    assert machine.checked(found, "machine") == found == machine.describe()


def test_a_processor_is_told_by_its_name_and_what_it_does_to_vectors(tmp_path, monkeypatch):
    assert machine._processor(INTEL) == {
        "processor": "Intel(R) Xeon(R) CPU",
        "instructions": "amx_tile avx avx2 avx512_bf16 f16c fma sse4_2",
    }
    assert machine._processor(ARM)["instructions"] == "asimd asimddp bf16 i8mm sve"
    monkeypatch.setattr(machine, "_CPU_FILE", tmp_path / "none")
    assert "instructions" not in machine.describe()


def test_differences_are_named():
    then, now = {"numpy": "1", "cores": "2", "gpus": "X"}, {"numpy": "2", "cores": "2", "libc": "g"}
    assert machine.differences(then, now) == [
        "numpy 1 (here 2)",
        "gpus X (here unknown)",
        "libc unknown (here g)",
    ]
    assert not machine.differences(now, dict(now))


@pytest.mark.parametrize("value", [[], {"numpy": 1}, {"numpy": "a\nb"}, {"": "x"}, {"a\x1b": "x"}])
def test_a_machine_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="machine"):
        machine.checked(value, "machine")
