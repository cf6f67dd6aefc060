import numpy as np
import pytest

from metamath_ray.analysis import _nearest
from metamath_ray.analysis._nearest import find_nearest


def plain_nearest(new, base):
    """Every difference, in double precision."""
    squared = ((new[:, None, :].astype(np.float64) - base[None, :, :]) ** 2).sum(axis=2)
    return squared.argmin(axis=1), squared.min(axis=1)


@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["length-about-one", "long-vectors"])
def test_500_rows_equal_plain_numpy_to_1e_4(scale):
    draw = np.random.default_rng(0)
    new = scale * draw.standard_normal((500, 48)).astype(np.float32) / 7
    base = scale * draw.standard_normal((700, 48)).astype(np.float32) / 7
    places, squared = plain_nearest(new, base)
    nearest = find_nearest(new, base)
    assert (nearest.places == places).all()
    np.testing.assert_allclose(nearest.squared_distances, squared, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_base", [1, 63, 64, 65, 200], ids=str)
def test_block_borders_hide_no_base_row(monkeypatch, num_base):
    monkeypatch.setattr(_nearest, "_BASE_ROWS", 64)
    monkeypatch.setattr(_nearest, "_NEW_ROWS", 10)
    monkeypatch.setattr(_nearest, "_BLOCK_ROWS", 25)
    draw = np.random.default_rng(num_base)
    base = draw.standard_normal((num_base, 8)).astype(np.float32)
    new = np.concatenate([base + 1e-3, draw.standard_normal((11, 8)).astype(np.float32)])
    nearest = find_nearest(new, base)
    assert (nearest.places == plain_nearest(new, base)[0]).all()


def test_a_near_duplicate_keeps_its_small_distance_exactly():
    base = np.full((3, 384), 5.0, np.float32)
    base[1, 0] += 1
    new = base[1:2].copy()
    new[0, 1] += 1e-3
    assert find_nearest(new, base).squared_distances[0] == pytest.approx(1e-6, rel=1e-2)


def test_of_equal_base_rows_the_first_is_named():
    base = np.ones((10_000, 4), np.float32)
    assert find_nearest(np.ones((1, 4), np.float32), base).places.tolist() == [0]
