import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamath_ray.training._batches import IGNORED, collate, collate_flat
from metamath_ray.training._packed import (
    DATA_VERSION,
    DamagedDataError,
    Manifest,
    Pack,
    PackedData,
    read_manifest,
    write_packs,
)

PAD = 9


def a_pack(*documents, row_ids=None):
    """A pack of documents, each given as (prompt tokens, response tokens)."""
    ids = [token for prompt, response in documents for token in (*prompt, *response)]
    return Pack(
        input_ids=np.array(ids, np.int32),
        lengths=np.array([len(prompt) + len(response) for prompt, response in documents], np.int32),
        prompt_lengths=np.array([len(prompt) for prompt, _ in documents], np.int32),
        row_ids=tuple(row_ids or (f"row-{i}" for i in range(len(documents)))),
    )


def random_packs(num_packs):
    random = np.random.default_rng(0)
    for number in range(num_packs):
        documents = [
            (random.integers(0, 99, random.integers(1, 5)), random.integers(0, 99, random.integers(1, 5)))
            for _ in range(random.integers(1, 5))
        ]
        yield a_pack(*documents, row_ids=[f"é-{number}-{i}" for i in range(len(documents))])


def write(packs, folder):
    packs = list(packs)

    def describe(sha256, size):
        tokens = sum(len(pack.input_ids) for pack in packs)
        return Manifest(
            DATA_VERSION, "key", "t", "t", 512, True, 0, len(packs), tokens, 0, 0, 0.5, {}, 0.0, sha256, size
        )

    write_packs(packs, folder, describe=describe)
    return folder


@pytest.mark.parametrize("num_packs", [0, 1, 2500], ids=["none", "one", "several record batches"])
def test_what_is_written_is_what_is_read(tmp_path, num_packs):
    written = list(random_packs(num_packs))
    data = PackedData.open(write(written, tmp_path), verify=True)
    assert (len(data), data.max_length, data.key) == (num_packs, 512, "key")
    for before, after in zip(written, data, strict=True):
        for field in dataclasses.fields(Pack):
            np.testing.assert_array_equal(getattr(before, field.name), getattr(after, field.name))
    targets = [int((pack.lengths - pack.prompt_lengths).sum()) for pack in written]
    np.testing.assert_array_equal(data.response_tokens, np.array(targets, np.int64))
    assert data.response_tokens.dtype == np.int64


def test_the_arrays_are_views_of_the_mapped_file(tmp_path):
    pack = PackedData.open(write(random_packs(3), tmp_path))[1]
    assert not pack.input_ids.flags.owndata
    assert not pack.input_ids.flags.writeable
    assert pack.input_ids.dtype == pack.lengths.dtype == pack.prompt_lengths.dtype == np.int32


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_refused(tmp_path, index):
    with pytest.raises(IndexError, match=f"must be 0 to 2, got {index}"):
        PackedData.open(write(random_packs(3), tmp_path))[index]


def test_packed_data_crosses_processes_as_its_folder(tmp_path):
    data = PackedData.open(write(random_packs(300), tmp_path))
    pickled = pickle.dumps(data)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled)[7].input_ids, data[7].input_ids)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (cut, "packs.arrow", "packs.arrow has .* bytes, not"),
        (flip, "packs.arrow", "packs.arrow does not have the digest"),
        (lose, "packs.arrow", "packs.arrow is missing"),
        (cut, "manifest.json", "manifest.json"),
    ],
    ids=["cut packs", "a flipped bit", "no packs", "cut manifest"],
)
def test_damage_is_an_error_that_says_what_to_do(tmp_path, damage, file, message):
    write(random_packs(50), tmp_path / "data")
    damage(tmp_path / "data" / file)
    with pytest.raises(DamagedDataError, match=f"{message}.*; delete the folder to pack anew"):
        PackedData.open(tmp_path / "data", verify=True)


def test_the_packs_of_another_run_are_noticed_without_reading_them(tmp_path):
    write(random_packs(50), tmp_path / "a")
    write(random_packs(51), tmp_path / "b")
    (tmp_path / "b" / "packs.arrow").replace(tmp_path / "a" / "packs.arrow")
    with pytest.raises(DamagedDataError, match=r"packs\.arrow has .* bytes, not"):
        PackedData.open(tmp_path / "a")


def test_a_write_that_dies_leaves_no_data_and_no_manifest_of_before(tmp_path):
    write(random_packs(5), tmp_path)

    def dying():
        yield from random_packs(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_packs(dying(), tmp_path, describe=lambda sha256, size: None)
    with pytest.raises(FileNotFoundError, match=r"no packed data in .*: .*"):
        PackedData.open(tmp_path)


def test_data_of_another_version_counts_as_none(tmp_path):
    write(random_packs(1), tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"version": DATA_VERSION + 1, "something": "new"}))
    with pytest.raises(FileNotFoundError, match=f"version {DATA_VERSION + 1}, not {DATA_VERSION}"):
        read_manifest(tmp_path)


def test_targets_are_the_next_tokens_of_responses_and_positions_restart():
    batch = collate([a_pack(([1, 2], [3, 4]), ([5], [6]))], pad_token_id=PAD, length=8)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, PAD, PAD]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 0, 1]]
    assert batch.targets.tolist() == [[IGNORED, 3, 4, IGNORED, 6, IGNORED, IGNORED, IGNORED]]


def test_a_batch_is_as_long_as_its_longest_pack():
    batch = collate([a_pack(([1], [2])), a_pack(([1, 2], [3, 4]))], pad_token_id=PAD)
    assert batch.input_ids.tolist() == [[1, 2, PAD, PAD], [1, 2, 3, 4]]
    assert batch.position_ids.tolist() == [[0, 1, 0, 1], [0, 1, 2, 3]]


def test_a_pack_without_documents_is_all_padding_and_has_no_target():
    batch = collate([a_pack(), a_pack(([1], [2, 3]))], pad_token_id=PAD)
    assert batch.input_ids[0].tolist() == [PAD] * 3
    assert batch.position_ids[0].tolist() == [0, 1, 2]
    assert (batch.targets[0] == IGNORED).all()
    assert collate([a_pack()], pad_token_id=PAD).input_ids.shape == (1, 1)


def test_a_flat_batch_is_one_sequence_without_padding():
    batch = collate_flat([a_pack(([1], [2])), a_pack(), a_pack(([1, 2], [3, 4]))])
    assert batch.input_ids.tolist() == [[1, 2, 1, 2, 3, 4]]
    assert batch.position_ids.tolist() == [[0, 1, 0, 1, 2, 3]]
    assert batch.targets.tolist() == [[2, IGNORED, IGNORED, 3, 4, IGNORED]]


def test_a_flat_batch_without_a_token_is_refused():
    with pytest.raises(ValueError, match="needs at least one token"):
        collate_flat([a_pack()])


def test_a_pack_that_is_longer_than_asked_is_refused():
    with pytest.raises(ValueError, match="length must be at least the longest pack's 3 tokens, got 2"):
        collate([a_pack(([1], [2, 3]))], pad_token_id=PAD, length=2)


documents = st.tuples(
    st.lists(st.integers(0, 8), min_size=1, max_size=4), st.lists(st.integers(0, 8), min_size=1, max_size=4)
)


@given(st.lists(st.lists(documents, max_size=4), min_size=1, max_size=4))
def test_each_response_token_is_a_target_once_however_it_is_collated(groups):
    packs = [a_pack(*group) for group in groups]
    wanted = [token for group in groups for _, response in group for token in response]
    batches = [collate(packs, pad_token_id=PAD)] + ([collate_flat(packs)] if wanted else [])
    for batch in batches:
        targets = batch.targets.flatten()
        assert targets[targets != IGNORED].tolist() == wanted
        assert (batch.input_ids != PAD).sum() == sum(len(pack.input_ids) for pack in packs)
