import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamath_ray.training._packing import pack_documents

documents = st.integers(1, 64).flatmap(
    lambda longest: st.tuples(st.just(longest), st.lists(st.integers(1, longest), max_size=200))
)


@given(documents)
def test_every_document_is_in_exactly_one_pack(case):
    max_length, lengths = case
    packs = pack_documents(lengths, max_length=max_length)
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))


@given(documents)
def test_no_pack_is_longer_than_max_length_and_none_is_empty(case):
    max_length, lengths = case
    assert all(
        0 < sum(lengths[i] for i in pack) <= max_length
        for pack in pack_documents(lengths, max_length=max_length)
    )


@given(documents)
def test_the_same_lengths_give_the_same_packs(case):
    max_length, lengths = case
    assert pack_documents(lengths, max_length=max_length) == pack_documents(
        np.array(lengths, int), max_length=max_length
    )


@given(documents)
@settings(max_examples=200)
def test_it_is_best_fit_decreasing(case):
    max_length, lengths = case
    packs = pack_documents(lengths, max_length=max_length)
    assert sorted(sorted(lengths[i] for i in pack) for pack in packs) == sorted(
        slow_best_fit(lengths, max_length)
    )


@given(documents)
def test_no_two_packs_would_fit_into_one(case):
    max_length, lengths = case
    totals = sorted(sum(lengths[i] for i in pack) for pack in pack_documents(lengths, max_length=max_length))
    assert len(totals) < 2 or totals[0] + totals[1] > max_length


@pytest.mark.parametrize("length", [0, -1, 17], ids=["empty", "negative", "too long"])
def test_a_document_that_no_pack_can_hold_is_refused(length):
    with pytest.raises(ValueError, match=f"must be 1 to max_length = 16, got {length} for document 1"):
        pack_documents([3, length], max_length=16)


def test_as_many_rows_as_the_papers_are_packed_in_seconds():
    lengths = np.random.default_rng(0).normal(250, 90, 395_000).clip(40, 512).astype(int)
    started = time.process_time()
    packs = pack_documents(lengths, max_length=512)
    assert time.process_time() - started < 10
    assert lengths.sum() / (len(packs) * 512) > 0.97


def slow_best_fit(lengths, max_length):
    packs = []
    for length in sorted(lengths, reverse=True):
        fitting = [pack for pack in packs if sum(pack) + length <= max_length]
        pack = max(reversed(fitting), key=sum) if fitting else []  # of equals, the one filled last
        packs = [other for other in packs if other is not pack] + [pack]
        pack.append(length)
    return [sorted(pack) for pack in packs]
