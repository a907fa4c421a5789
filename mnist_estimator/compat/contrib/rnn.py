"""What `tf.contrib.rnn` had beyond `v1.nn.rnn_cell` and the functions of `v1.nn`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf, v1


def stack_bidirectional_dynamic_rnn(
    cells_fw: Sequence[Any],
    cells_bw: Sequence[Any],
    inputs: Any,
    initial_states_fw: Sequence[Any] | None = None,
    initial_states_bw: Sequence[Any] | None = None,
    dtype: Any = None,
    sequence_length: Any = None,
    parallel_iterations: int | None = None,
    time_major: bool = False,
    scope: Any = None,
    swap_memory: bool = False,
) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """Layers of two recurrent networks, one forwards and one backwards; each reads both below.

    Returns: the last layer's outputs, both joined; the last states forwards, and backwards.

    Raises:
      ValueError: if the lists are empty or of different lengths.
    """
    lists = [cells_fw, cells_bw]
    lists += [states for states in (initial_states_fw, initial_states_bw) if states is not None]
    if not cells_fw or any(not isinstance(each, list) for each in lists):
        raise ValueError("expected lists of cells and of states, one a layer, at least one")
    if len({len(each) for each in lists}) > 1:
        lengths = [len(each) for each in lists]
        raise ValueError(f"expected as many cells and states each way, found {lengths}")
    nothing = [None] * len(cells_fw)
    states_fw, states_bw = [], []
    layers = zip(
        cells_fw,
        cells_bw,
        initial_states_fw or nothing,
        initial_states_bw or nothing,
        strict=True,
    )
    with v1.variable_scope(scope or "stack_bidirectional_rnn"):
        for number, (cell_fw, cell_bw, state_fw, state_bw) in enumerate(layers):
            with v1.variable_scope(f"cell_{number}"):
                outputs, states = v1.nn.bidirectional_dynamic_rnn(
                    cell_fw,
                    cell_bw,
                    inputs,
                    sequence_length=sequence_length,
                    initial_state_fw=state_fw,
                    initial_state_bw=state_bw,
                    dtype=dtype,
                    parallel_iterations=parallel_iterations,
                    swap_memory=swap_memory,
                    time_major=time_major,
                )
            inputs = tf.concat(outputs, 2)
            states_fw.append(states[0])
            states_bw.append(states[1])
    return inputs, tuple(states_fw), tuple(states_bw)
