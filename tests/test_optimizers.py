"""The table of optimizers: every entry names the variables that its optimizer adds."""

from __future__ import annotations

import pytest

from mnist_estimator import optimizers
from mnist_estimator.compat import tf, v1


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_an_entry_names_the_variables_that_its_optimizer_adds(name):
    entry = optimizers.OPTIMIZERS[name]
    with tf.Graph().as_default():
        weights = [v1.get_variable(f"dense/{part}", [3]) for part in ("kernel", "bias")]
        loss = sum(tf.reduce_sum(weight * weight) for weight in weights)
        optimizer = entry.make(v1.train, tf.constant(0.1), {"momentum": 0.9})
        optimizer.minimize(loss)
        every = {variable.op.name for variable in v1.global_variables()}
    weight_names = {weight.op.name for weight in weights}
    added = {f"{weight}/{slot}" for weight in weight_names for slot in entry.slots}
    assert every - weight_names == added | set(entry.shared)
    assert all(optimizers.is_optimizer_variable(variable) for variable in every - weight_names)
    assert not any(optimizers.is_optimizer_variable(weight) for weight in weight_names)


@pytest.mark.parametrize("name", ["Adam", "Adam/kernel", "dense/Adam_2", "my_power"])
def test_a_networks_own_variable_may_have_such_a_name(name):
    assert not optimizers.is_optimizer_variable(name)
