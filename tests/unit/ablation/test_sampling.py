"""Sampling: a pure function of mix, seed and rows; nested; equal in what is asked."""

import itertools
import random
from dataclasses import replace

import pytest

from metamath_ray.ablation._mixes import Mix
from metamath_ray.ablation._pool import MixRow, Pool
from metamath_ray.ablation._sampling import MixSample, sample_mixes


def make_rows(kind: str, count: int, *, paths: int = 1) -> tuple[MixRow, ...]:
    return tuple(
        MixRow(f"{kind}-{i}", kind, f"{kind} {i // paths}", f"path {i}", tokens=5 + 7 * i % 23)
        for i in range(count)
    )


POOL = Pool({"G_AnsAug": make_rows("G_AnsAug", 60, paths=3), "G_SV": make_rows("G_SV", 30)}, {})


def draw(*mixes: Mix, pool: Pool = POOL, seeds: tuple[int, ...] = (0,), **options: object) -> list[MixSample]:
    return list(sample_mixes(mixes, pool, seeds=seeds, **options))  # type: ignore[arg-type]


def ids(sample: MixSample) -> set[str]:
    return {row.row_id for row in sample.rows}


def test_a_mix_has_the_rows_it_asks_for_of_each_type() -> None:
    (sample,) = draw(Mix("m", (("AnsAug", 12), ("SV", 5))))
    assert sample.by_type() == {"G_AnsAug": 12, "G_SV": 5}
    assert sample.tokens == sum(row.tokens for row in sample.rows)
    assert len(ids(sample)) == 17


def test_the_order_of_the_data_changes_nothing() -> None:
    mix = Mix("m", (("AnsAug", 12), ("SV", 5)))
    shuffled = list(POOL.groups["G_AnsAug"])
    random.Random(1).shuffle(shuffled)
    other = Pool({"G_SV": POOL.groups["G_SV"][::-1], "G_AnsAug": tuple(shuffled)}, {})
    assert draw(mix) == draw(mix, pool=other)


def test_seeds_draw_other_rows_in_another_order() -> None:
    one, two = draw(Mix("m", (("AnsAug", 12),)), seeds=(0, 1))
    assert (one.name, two.name) == ("m-0", "m-1")
    assert ids(one) != ids(two)
    whole = draw(Mix("m", (("AnsAug", 60),)), seeds=(0, 1))
    assert ids(whole[0]) == ids(whole[1])
    assert whole[0].digest != whole[1].digest


def test_growing_mixes_are_nested_and_mixes_share_their_rows() -> None:
    sizes = (1, 7, 20, 41, 60)
    samples = draw(*(Mix(f"A-{n}", (("AnsAug", n),)) for n in sizes))
    for small, large in itertools.pairwise(samples):
        assert ids(small) < ids(large)
    (both,) = draw(Mix("both", (("AnsAug", 20), ("SV", 9))))
    assert ids(samples[2]) < ids(both)


def test_every_question_comes_once_before_one_comes_twice() -> None:
    (sample,) = draw(Mix("m", (("AnsAug", 20),)))
    assert len({row.query for row in sample.rows}) == 20
    (more,) = draw(Mix("m", (("AnsAug", 25),)))
    assert len({row.query for row in more.rows}) == 20


def test_a_pair_that_two_parts_have_is_drawn_once() -> None:
    twins = tuple(replace(row, row_id=f"x-{row.row_id}", type="x") for row in POOL.groups["G_SV"])
    pool = Pool({**POOL.groups, "file:x": twins}, {})
    (sample,) = draw(Mix("m", (("SV", 30), ("file:x", 30))), pool=pool)
    assert sample.by_type() == {"G_SV": 30}


MIXES = (Mix("A", (("AnsAug", 45),)), Mix("A+SV", (("AnsAug", 30), ("SV", 20))), Mix("SV", (("SV", 18),)))


def test_equal_rows_cuts_all_to_the_smallest_in_their_own_proportions() -> None:
    samples = draw(*MIXES, equal="rows")
    assert [len(sample.rows) for sample in samples] == [18, 18, 18]
    assert samples[1].by_type() == {"G_AnsAug": 11, "G_SV": 7}
    assert [len(sample.rows) for sample in draw(*MIXES, equal="rows", size=10)] == [10, 10, 10]


def test_equal_tokens_comes_within_a_row_of_each_part_from_below() -> None:
    least = min(sample.tokens for sample in draw(*MIXES, seeds=(0, 1)))
    longest = max(row.tokens for rows in POOL.groups.values() for row in rows)
    for sample in draw(*MIXES, seeds=(0, 1), equal="tokens"):
        num_parts = len(sample.by_type())
        assert least - num_parts * longest <= sample.tokens <= least


@pytest.mark.parametrize("equal", ["none", "steps"])
def test_without_a_cut_all_rows_stay(equal: str) -> None:
    assert [len(sample.rows) for sample in draw(*MIXES, equal=equal)] == [45, 50, 18]


def test_a_cut_sample_lies_within_the_whole_one() -> None:
    for cut, whole in zip(draw(*MIXES, equal="rows"), draw(*MIXES), strict=True):
        assert ids(cut) <= ids(whole)


def test_more_than_the_smallest_mix_has_is_refused() -> None:
    with pytest.raises(ValueError, match="size must be at most the 18 rows of mix 'SV', got 19"):
        draw(*MIXES, equal="rows", size=19)
