"""`tf.contrib.crf`: linear-chain conditional random fields (Lafferty, McCallum and Pereira 2001).

A sequence of tags scores the sum of what each step gives its tag (inputs, [batch, steps, tags]) and
of what each pair of tags that follow one another gives (transition_params, [tags, tags], from, to).
Steps from a sequence's length on count for nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnist_estimator.compat._loaded import tf, v1


def crf_log_likelihood(
    inputs: Any, tag_indices: Any, sequence_lengths: Any, transition_params: Any = None
) -> tuple[Any, Any]:
    """The logarithm of the probability of each sequence of tags, [batch], and the transitions.

    Args:
      transition_params: None: the variable `transitions` is made.
    """
    inputs = tf.convert_to_tensor(inputs)
    if transition_params is None:
        tags = inputs.shape[2]
        transition_params = v1.get_variable("transitions", [tags, tags])
    score = crf_sequence_score(inputs, tag_indices, sequence_lengths, transition_params)
    return score - crf_log_norm(inputs, sequence_lengths, transition_params), transition_params


def crf_sequence_score(
    inputs: Any, tag_indices: Any, sequence_lengths: Any, transition_params: Any
) -> Any:
    """The score of each sequence of tags. [batch]."""
    unary = crf_unary_score(tag_indices, sequence_lengths, inputs)
    return unary + crf_binary_score(tag_indices, sequence_lengths, transition_params)


def crf_multitag_sequence_score(
    inputs: Any, tag_bitmap: Any, sequence_lengths: Any, transition_params: Any
) -> Any:
    """The logarithm of the summed exponentials of all sequences of tags that are allowed. [batch].

    Args:
      tag_bitmap: [batch, steps, tags], which tags each step may have.
    """
    inputs = tf.convert_to_tensor(inputs)
    allowed = tf.where(tag_bitmap, inputs, tf.fill(v1.shape(inputs), inputs.dtype.min))
    return crf_log_norm(allowed, sequence_lengths, transition_params)


def crf_unary_score(tag_indices: Any, sequence_lengths: Any, inputs: Any) -> Any:
    """What the steps give the tags. [batch]."""
    inputs, tags = tf.convert_to_tensor(inputs), tf.convert_to_tensor(tag_indices)
    mask = tf.sequence_mask(sequence_lengths, v1.shape(tags)[1])
    # Of no element past the length: it may be infinite.
    scores = tf.gather(inputs, tags, batch_dims=2)
    return tf.reduce_sum(tf.where(mask, scores, tf.zeros_like(scores)), axis=1)


def crf_binary_score(tag_indices: Any, sequence_lengths: Any, transition_params: Any) -> Any:
    """What the pairs of tags give. [batch]."""
    tags = tf.convert_to_tensor(tag_indices)
    transitions = tf.convert_to_tensor(transition_params)
    mask = tf.sequence_mask(sequence_lengths, v1.shape(tags)[1])[:, 1:]
    scores = tf.gather_nd(transitions, tf.stack([tags[:, :-1], tags[:, 1:]], axis=-1))
    return tf.reduce_sum(tf.where(mask, scores, tf.zeros_like(scores)), axis=1)


def crf_log_norm(inputs: Any, sequence_lengths: Any, transition_params: Any) -> Any:
    """The logarithm of the summed exponentials of all scores. [batch]; 0 for no steps."""

    def step(state: Any, scores: Any) -> Any:
        return scores + tf.reduce_logsumexp(state[:, :, None] + transition_params, axis=1)

    states = _states(step, inputs, sequence_lengths)
    norm = tf.reduce_logsumexp(states[-1], axis=1)
    return tf.where(tf.less_equal(sequence_lengths, 0), tf.zeros_like(norm), norm)


def crf_decode(potentials: Any, transition_params: Any, sequence_length: Any) -> tuple[Any, Any]:
    """The sequence of tags of the highest score (Viterbi 1967).

    Returns: the tags, [batch, steps] of int32, 0 from the length on; and the scores, [batch].
    """

    def step(state: Any, scores: Any) -> Any:
        return scores + tf.reduce_max(state[:, :, None] + transition_params, axis=1)

    potentials = tf.convert_to_tensor(potentials)
    states = _states(step, potentials, sequence_length)
    lengths, count = tf.cast(sequence_length, tf.int32), v1.shape(potentials)[1]
    into = tf.transpose(transition_params)  # [to, from]

    def before(tag: Any, position: Any) -> Any:
        best = tf.argmax(states[position] + tf.gather(into, tag), axis=1, output_type=tf.int32)
        return tf.where(position < lengths - 1, best, tag)

    # From the last step back: the best tag before the one that is known.
    last = tf.argmax(states[-1], axis=1, output_type=tf.int32)
    backwards = tf.scan(before, tf.range(count - 1, -1, -1), initializer=last)
    tags = tf.transpose(tf.reverse(backwards, [0]))
    tags = tf.where(tf.sequence_mask(lengths, count), tags, tf.zeros_like(tags))
    tags.set_shape(potentials.shape[:2])
    return tags, tf.reduce_max(states[-1], axis=1)


def viterbi_decode(score: np.ndarray, transition_params: np.ndarray) -> tuple[list[int], float]:
    """`crf_decode` of one sequence in numpy: score [steps, tags] -> its tags and their score."""
    best = np.array(score[0])
    pointers = []
    for step in score[1:]:
        into = best[:, None] + transition_params
        pointers.append(np.argmax(into, axis=0))
        best = step + np.max(into, axis=0)
    tags = [int(np.argmax(best))]
    for pointer in reversed(pointers):
        tags.append(int(pointer[tags[-1]]))
    return tags[::-1], np.max(best)


def _states(step: Any, inputs: Any, sequence_lengths: Any) -> Any:
    """What `step` gives at each step, which a sequence keeps after its length."""
    steps = tf.transpose(inputs, [1, 0, 2])
    lengths = tf.cast(sequence_lengths, tf.int32)

    def next_state(state: Any, both: Any) -> Any:
        scores, position = both
        following = tf.where((position < lengths)[:, None], step(state, scores), state)
        return tf.where(position > 0, following, scores)

    places = tf.range(v1.shape(steps)[0])
    return tf.scan(next_state, (steps, places), initializer=tf.zeros_like(steps[0]))
