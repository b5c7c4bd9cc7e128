"""A second stream of samples, paired with the first one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.inputs import MemoryInputs
from data.pipeline import training_batches
from training.two_streams import Stream


def numbered(count: int) -> MemoryInputs:
    """Samples whose only value is their index."""
    indices = np.arange(count)
    return MemoryInputs(indices, indices[None, :, None].astype(np.float32))


def streams(members: int, batch_size: int, first_epoch: int = 0, steps: int = 3):
    inputs, labels = numbered(12), np.arange(12) % 4
    batches = training_batches(inputs, labels, np.arange(12), 4, 4, 0, first_epoch)
    indices = np.arange(100, 100 + members)
    own = MemoryInputs(indices, indices[None, :, None].astype(np.float32))
    return Stream(own, np.zeros(100 + members, np.int64), indices).paired_with(
        batches, steps, batch_size, 0, first_epoch
    )


@settings(max_examples=8)
@given(st.integers(2, 9), st.integers(2, 6))
def test_own_batches_are_full_and_their_samples_differ(members, batch_size):
    for (first, second_stream), (label, _) in streams(members, batch_size).take(5):
        assert first.shape[0] == label.shape[0] == 4
        own = second_stream.numpy().ravel()
        assert len(set(own)) == len(own) == min(batch_size, members) >= 2


def test_every_sample_of_the_second_stream_is_read():
    read = [second_stream.numpy().ravel() for (_, second_stream), _ in streams(7, 3).take(12)]
    assert set(np.concatenate(read)) == set(range(100, 107))


@pytest.mark.parametrize("steps", [3])
def test_a_stream_that_starts_later_continues_an_earlier_one(steps):
    def samples(batches):
        return [[part.numpy().tolist() for part in x] for x, _ in batches.take(steps)]

    assert samples(streams(7, 3).skip(2 * steps)) == samples(streams(7, 3, first_epoch=2))
