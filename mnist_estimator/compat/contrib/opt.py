"""Optimizers of `tf.contrib.opt`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mnist_estimator.compat._loaded import tf, v1


class LazyAdamOptimizer(v1.train.AdamOptimizer):
    """Adam that leaves alone what a sparse gradient says nothing of: the variable and its slots.

    `v1.train.AdamOptimizer` lets the slots of all rows decay, and moves all rows by them, each
    step. That takes time, and trains an embedding in another way.
    """

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        return self._update_rows(grad.values, var, grad.indices)

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        return self._update_rows(grad, var, indices)

    def _update_rows(self, grad: Any, var: Any, indices: Any) -> Any:
        """Adam's step for these rows. No index is there twice: the base class has summed them."""

        def number(tensor: Any) -> Any:
            return tf.cast(tensor, var.dtype.base_dtype)

        beta1_power, beta2_power = map(number, self._get_beta_accumulators())
        beta1, beta2 = number(self._beta1_t), number(self._beta2_t)
        rate = number(self._lr_t) * tf.sqrt(1 - beta2_power) / (1 - beta1_power)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        new_m = beta1 * tf.gather(m, indices) + (1 - beta1) * grad
        new_v = beta2 * tf.gather(v, indices) + (1 - beta2) * tf.square(grad)
        step = rate * new_m / (tf.sqrt(new_v) + number(self._epsilon_t))
        return v1.group(
            var.scatter_sub(tf.IndexedSlices(step, indices), self._use_locking),
            m.scatter_update(tf.IndexedSlices(new_m, indices), self._use_locking),
            v.scatter_update(tf.IndexedSlices(new_v, indices), self._use_locking),
        )


class DecoupledWeightDecayExtension:
    """For an optimizer's subclass: takes weight_decay * weights off the weights before each step.

    That is decay apart from the loss, and so from the optimizer's own averages (Loshchilov and
    Hutter 2019). As in TensorFlow 1, the learning rate does not act on it, and of a variable with a
    sparse gradient only those rows decay.

    Args:
      weight_decay: a number, tensor, or function that gives one.
    """

    def __init__(self, weight_decay: Any, **kwargs: Any) -> None:
        self._weight_decay = weight_decay
        self._decay_names: set[str] | None = None
        super().__init__(**kwargs)

    def minimize(
        self,
        loss: Any,
        global_step: Any = None,
        var_list: Any = None,
        gate_gradients: int = v1.train.Optimizer.GATE_OP,
        aggregation_method: Any = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
        decay_var_list: Iterable[Any] | None = None,
    ) -> Any:
        """As the optimizer's. `decay_var_list`: the variables that decay; all if None or empty.

        TensorFlow 1 documents `decay_var_list` so, but let all variables decay here.
        """
        pairs = self.compute_gradients(
            loss,
            var_list,
            gate_gradients,
            aggregation_method,
            colocate_gradients_with_ops,
            grad_loss,
        )
        return self.apply_gradients(pairs, global_step, name, decay_var_list)

    def apply_gradients(
        self,
        grads_and_vars: Any,
        global_step: Any = None,
        name: str | None = None,
        decay_var_list: Iterable[Any] | None = None,
    ) -> Any:
        """As the optimizer's. `decay_var_list`: the variables that decay; all if None or empty."""
        self._decay_names = {var.op.name for var in decay_var_list or ()}
        return super().apply_gradients(grads_and_vars, global_step=global_step, name=name)

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        with v1.control_dependencies(self._decay(grad, var)):
            return super()._apply_dense(grad, var)

    def _resource_apply_dense(self, grad: Any, var: Any) -> Any:
        with v1.control_dependencies(self._decay(grad, var)):
            return super()._resource_apply_dense(grad, var)

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        with v1.control_dependencies(self._decay(grad.values, var, grad.indices)):
            return super()._apply_sparse(grad, var)

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        with v1.control_dependencies(self._decay(grad, var, indices)):
            return super()._resource_apply_sparse(grad, var, indices)

    def _decay(self, grad: Any, var: Any, indices: Any = None) -> list[Any]:
        """What takes the decay off a variable, or off some of its rows."""
        if self._decay_names and var.op.name not in self._decay_names:
            return []
        rate = self._weight_decay() if callable(self._weight_decay) else self._weight_decay
        rate = tf.cast(rate, var.dtype.base_dtype)
        # Not before the gradient is computed, of the weights as they were.
        with v1.control_dependencies([grad]):
            if indices is None:
                return [var.assign_sub(rate * tf.convert_to_tensor(var), self._use_locking)]
            rows = tf.IndexedSlices(rate * tf.gather(var, indices), indices)
            return [var.scatter_sub(rows, self._use_locking)]


def extend_with_decoupled_weight_decay(base_optimizer: type) -> type:
    """The subclass of an optimizer that takes `weight_decay` as its first argument."""

    class OptimizerWithDecoupledWeightDecay(DecoupledWeightDecayExtension, base_optimizer):
        """The optimizer with decay."""

        def __init__(self, weight_decay: Any, *args: Any, **kwargs: Any) -> None:
            self._weight_decay = weight_decay
            self._decay_names = None
            base_optimizer.__init__(self, *args, **kwargs)

    return OptimizerWithDecoupledWeightDecay


class AdamWOptimizer(DecoupledWeightDecayExtension, v1.train.AdamOptimizer):
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        weight_decay: Any,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "AdamW",
    ) -> None:
        super().__init__(
            weight_decay,
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            use_locking=use_locking,
            name=name,
        )


class MomentumWOptimizer(DecoupledWeightDecayExtension, v1.train.MomentumOptimizer):
    """Momentum with decoupled weight decay."""

    def __init__(
        self,
        weight_decay: Any,
        learning_rate: Any,
        momentum: Any,
        use_locking: bool = False,
        name: str = "MomentumW",
        use_nesterov: bool = False,
    ) -> None:
        super().__init__(
            weight_decay,
            learning_rate=learning_rate,
            momentum=momentum,
            use_locking=use_locking,
            name=name,
            use_nesterov=use_nesterov,
        )


class MovingAverageOptimizer(v1.train.Optimizer):
    """Keeps moving averages of what another optimizer trains, and saves them in its place.

    Args:
      opt: the optimizer.
      average_decay: near 1.0.
      num_updates: a counter, by which the decay is smaller at the beginning.
      sequential_update: average after the step, not beside it.
    """

    def __init__(
        self,
        opt: Any,
        average_decay: float = 0.9999,
        num_updates: Any = None,
        sequential_update: bool = True,
    ) -> None:
        super().__init__(use_locking=False, name="MovingAverage")
        self._optimizer, self._sequential_update = opt, sequential_update
        self._ema = v1.train.ExponentialMovingAverage(average_decay, num_updates=num_updates)
        self._averages: dict[str, Any] | None = None  # Name of a variable -> its average.

    def compute_gradients(self, *args: Any, **kwargs: Any) -> Any:
        return self._optimizer.compute_gradients(*args, **kwargs)

    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> Any:
        pairs = list(grads_and_vars)
        step = self._optimizer.apply_gradients(pairs, global_step=global_step, name=name)
        trained = [var for grad, var in pairs if grad is not None]
        with v1.control_dependencies([step] if self._sequential_update else []):
            averages = self._ema.apply(trained)
        self._averages = {var.op.name: self._ema.average(var) for var in trained}
        return v1.group(step, averages, name="train_with_avg")

    def swapping_saver(
        self, var_list: Any = None, name: str = "swapping_saver", **kwargs: Any
    ) -> Any:
        """A `v1.train.Saver` that saves averages by the variables' names, and the other way round.

        Raises:
          RuntimeError: before `minimize`.
          ValueError: if `var_list` has a variable without its average, or the other way round.
        """
        if self._averages is None:
            raise RuntimeError("call minimize or apply_gradients before swapping_saver")
        if var_list is None:
            var_list = v1.global_variables()
        if not isinstance(var_list, Mapping):
            var_list = {var.op.name: var for var in var_list}
        partner = {key: average.op.name for key, average in self._averages.items()}
        partner |= {average: key for key, average in partner.items()}
        for key in var_list:
            if partner.get(key, key) not in var_list:
                raise ValueError(f"var_list has {key}, expected {partner[key]} with it")
        swapped = {key: var_list[partner.get(key, key)] for key in var_list}
        return v1.train.Saver(swapped, name=name, **kwargs)
