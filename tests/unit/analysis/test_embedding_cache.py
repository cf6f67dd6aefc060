import numpy as np
import pytest

from metamath_ray.analysis._embedding_cache import (
    BadCacheError,
    EmbeddingCache,
    EmbeddingWriter,
    describe_cache,
    text_key,
)

KEYS = [text_key(text) for text in ("a", "b", "c")]
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def folder(tmp_path):
    describe_cache(tmp_path, {"model": "m"}, dimension=4)
    EmbeddingWriter(tmp_path, dimension=4).append(KEYS, VECTORS, [False, True, False])
    return tmp_path


def test_vectors_come_back_to_the_last_bit_in_the_order_asked(folder):
    EmbeddingWriter(folder, dimension=4).append([text_key("d")], np.ones((1, 4), np.float32), [False])
    cache = EmbeddingCache(folder, dimension=4)
    found = cache.vectors([KEYS[2], text_key("d"), KEYS[0], KEYS[2]])
    assert found.tolist() == [VECTORS[2].tolist(), [1.0] * 4, VECTORS[0].tolist(), VECTORS[2].tolist()]
    assert cache.missing([KEYS[0], text_key("x"), text_key("x")]) == [text_key("x")]
    assert cache.num_cut(KEYS) == 1


@pytest.mark.parametrize("lost", [1, 30, 52], ids=["last-byte", "half", "all-but-a-byte"])
def test_a_torn_last_record_counts_as_absent_and_the_others_stay(folder, lost):
    segment = next(folder.glob("segment-*"))
    segment.write_bytes(segment.read_bytes()[:-lost])
    cache = EmbeddingCache(folder, dimension=4)
    assert cache.missing(KEYS) == [KEYS[2]]
    assert cache.vectors(KEYS[:2]).tolist() == VECTORS[:2].tolist()


def test_a_damaged_record_counts_as_absent(folder):
    segment = next(folder.glob("segment-*"))
    content = bytearray(segment.read_bytes())
    content[40] ^= 1
    segment.write_bytes(content)
    assert EmbeddingCache(folder, dimension=4).missing(KEYS) == [KEYS[0]]


def test_another_dimension_is_refused(folder):
    with pytest.raises(BadCacheError, match="vectors of 4 numbers, but the embedder gives 8 now"):
        describe_cache(folder, {"model": "m"}, dimension=8)
