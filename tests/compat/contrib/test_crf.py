"""Conditional random fields held against all sequences of tags, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.compat.contrib import crf

TAGS, STEPS = 3, 4
LENGTHS = [4, 2, 1, 3]
RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(len(LENGTHS), STEPS, TAGS)).astype(np.float32)
TRANSITIONS = RANDOM.normal(size=(TAGS, TAGS)).astype(np.float32)
GIVEN = RANDOM.integers(TAGS, size=(len(LENGTHS), STEPS))


def score(example, tags):
    """The definition: what each step gives, and each pair that follow one another."""
    unary = sum(INPUTS[example, step, tag] for step, tag in enumerate(tags))
    return unary + sum(TRANSITIONS[pair] for pair in itertools.pairwise(tags))


def all_scores(example, allowed=lambda step, tag: True):
    return {
        tags: score(example, tags)
        for tags in itertools.product(range(TAGS), repeat=LENGTHS[example])
        if all(itertools.starmap(allowed, enumerate(tags)))
    }


def log_sum(scores):
    return np.log(np.sum(np.exp(np.array(list(scores.values()), np.float64))))


@pytest.fixture(params=["known", "unknown"])
def tensors(request):
    """Inputs, tags, lengths and transitions, of static and of dynamic shape; and what to feed."""
    if request.param == "known":
        made = tf.constant(INPUTS), tf.constant(GIVEN), tf.constant(LENGTHS, tf.int64)
        return *made, tf.constant(TRANSITIONS), {}
    inputs = v1.placeholder(tf.float32, [None, None, TAGS])
    tags, lengths = v1.placeholder(tf.int32, [None, None]), v1.placeholder(tf.int32, [None])
    feed = {inputs: INPUTS, tags: GIVEN, lengths: LENGTHS}
    return inputs, tags, lengths, tf.constant(TRANSITIONS), feed


def test_scores_and_likelihood(evaluate, tensors):
    inputs, tags, lengths, transitions, feed = tensors
    likelihood, given = crf.crf_log_likelihood(inputs, tags, lengths, transitions)
    assert given is transitions
    scores = crf.crf_sequence_score(inputs, tags, lengths, transitions)
    norm = crf.crf_log_norm(inputs, lengths, transitions)
    parts = [crf.crf_unary_score(tags, lengths, inputs)]
    parts += [crf.crf_binary_score(tags, lengths, transitions)]
    found = evaluate([scores, norm, likelihood, parts[0] + parts[1]], feed)
    rows = [tuple(row[:length]) for row, length in zip(GIVEN, LENGTHS, strict=True)]
    expected = np.array([score(number, row) for number, row in enumerate(rows)])
    norms = np.array([log_sum(all_scores(number)) for number in range(len(LENGTHS))])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[1], norms, rtol=1e-5)
    np.testing.assert_allclose(found[2], expected - norms, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[3], expected, rtol=1e-5)


def test_decode(evaluate, tensors):
    inputs, _, lengths, transitions, feed = tensors
    tags, scores = evaluate(crf.crf_decode(inputs, transitions, lengths), feed)
    assert tags.dtype == np.int32
    for number, length in enumerate(LENGTHS):
        best, value = max(all_scores(number).items(), key=lambda item: item[1])
        assert tuple(tags[number]) == best + (0,) * (STEPS - length)
        assert scores[number] == pytest.approx(value, rel=1e-5)
        alone = crf.viterbi_decode(INPUTS[number, :length], TRANSITIONS)
        assert alone == (list(best), pytest.approx(value, rel=1e-5))


def test_several_tags_a_step(evaluate, tensors):
    inputs, _, lengths, transitions, feed = tensors
    allowed = RANDOM.random(INPUTS.shape) < 0.5
    allowed[..., 1] = True
    found = evaluate(
        crf.crf_multitag_sequence_score(inputs, tf.constant(allowed), lengths, transitions), feed
    )
    for number in range(len(LENGTHS)):
        some = all_scores(number, lambda step, tag, number=number: allowed[number, step, tag])
        assert found[number] == pytest.approx(log_sum(some), rel=1e-5)


def test_the_gradient_is_what_is_given_less_what_is_expected(evaluate, tensors):
    inputs, tags, lengths, transitions, feed = tensors
    likelihood, _ = crf.crf_log_likelihood(inputs, tags, lengths, transitions)
    found = evaluate(tf.gradients(likelihood, [inputs, transitions]), feed)
    expected = [np.zeros_like(INPUTS), np.zeros_like(TRANSITIONS)]
    for number, length in enumerate(LENGTHS):
        scores = all_scores(number)
        weights = {each: -np.exp(value - log_sum(scores)) for each, value in scores.items()}
        weights[tuple(GIVEN[number, :length])] += 1
        for sequence, weight in weights.items():
            for step, tag in enumerate(sequence):
                expected[0][number, step, tag] += weight
            for pair in itertools.pairwise(sequence):
                expected[1][pair] += weight
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_one_step_and_none(evaluate):
    inputs = v1.placeholder(tf.float32, [None, None, TAGS])
    lengths, tags = tf.constant([1, 1, 0, 1]), tf.constant(GIVEN[:, :1])
    likelihood, transitions = crf.crf_log_likelihood(inputs, tags, lengths)
    assert transitions.op.name == "transitions"
    decoded, _ = crf.crf_decode(inputs, transitions, lengths)
    found, best = evaluate([likelihood, decoded], {inputs: INPUTS[:, :1]})
    first = INPUTS[:, 0].astype(np.float64)
    expected = first[np.arange(4), GIVEN[:, 0]] - np.log(np.exp(first).sum(axis=1))
    np.testing.assert_allclose(found, expected * [1, 1, 0, 1], rtol=1e-5, atol=1e-6)
    assert best[:, 0].tolist() == first.argmax(axis=1).tolist()
