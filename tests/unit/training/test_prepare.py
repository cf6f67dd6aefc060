import dataclasses
import json
import logging
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metamath_ray.dataset_rows import DatasetRow
from metamath_ray.training import TrainOptions
from metamath_ray.training._packed import DamagedDataError, PackedData
from metamath_ray.training._prepare import prepare_data
from metamath_ray.training._template import render_prompt
from metamath_ray.training._tokenize import encode_documents, tokenise_rows, tokenizer_identity

AWKWARD = [
    "To find it",
    "$x$ is 3",
    "\n\nFirst",
    "  two blanks",
    " We",
    "é 😀",
    "12345",
    ":)",
    "\ttab",
    "The answer is: 7",
]


def a_row(number, *, words=3):
    return {"query": f"What is {number} + 1?", "response": "so " * words + f"\nThe answer is: {number + 1}"}


@pytest.fixture
def data_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [a_row(i, words=3 + i % 20) for i in range(60)]
    path.write_text("\n".join(map(json.dumps, [*rows, rows[0], {"query": "", "response": "x"}])))
    return path


@pytest.fixture
def options(tiny_model, data_file):
    return TrainOptions(data=str(data_file), model=str(tiny_model), max_length=256)


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="session")
def blank_adding_tokenizer():
    """Like Llama 2's: a bos, a blank before every text, bytes for what is not in the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdefghijklmnopqrstuvwxyzT:$",
        ":$",
        "▁t",
    ]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab, [(":", "$"), ("▁", "t")], byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_document_reads_as_prompt_response_and_end(tiny_tokenizer, query, response):
    assert_reads_back(tiny_tokenizer, query, response)


@pytest.mark.parametrize("response", AWKWARD)
def test_a_document_of_the_real_student_reads_as_prompt_response_and_end(student_folder, response):
    from transformers import AutoTokenizer

    assert_reads_back(AutoTokenizer.from_pretrained(student_folder), "What?", response)


@pytest.mark.parametrize("response", AWKWARD)
def test_a_tokenizer_that_adds_blanks_adds_none_between_prompt_and_response(blank_adding_tokenizer, response):
    tokenizer = blank_adding_tokenizer
    ids = assert_reads_back(tokenizer, "What?", response, start="<s>")
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def assert_reads_back(tokenizer, query, response, *, start=""):
    """The document's text, and that its prompt is what a generating model is given to continue."""
    prompt = render_prompt(query)
    (ids,), (prompt_length,) = encode_documents(tokenizer, [prompt], [response])
    assert ids[:prompt_length] == tokenizer(prompt).input_ids
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[len([start]) if start else 0 : -1]) == prompt + response
    return ids


def test_no_token_reaches_over_the_end_of_the_prompt(blank_adding_tokenizer):
    tokenizer = blank_adding_tokenizer
    joint = tokenizer.tokenize(render_prompt("a") + "$x$")
    (ids,), (prompt_length,) = encode_documents(tokenizer, [render_prompt("a")], ["$x$"])
    assert ":$" in joint
    assert tokenizer.convert_ids_to_tokens(ids[prompt_length - 1 : prompt_length + 1]) == [":", "$"]


def test_another_vocabulary_is_another_identity(tiny_tokenizer, blank_adding_tokenizer):
    assert tokenizer_identity(tiny_tokenizer) == tokenizer_identity(tiny_tokenizer)
    assert tokenizer_identity(tiny_tokenizer) != tokenizer_identity(blank_adding_tokenizer)


def test_every_good_row_is_in_the_packs_once_and_what_was_lost_is_counted(options, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        data = prepare_data(options, tmp_path / "data")
    ids = sorted(name for pack in data for name in pack.row_ids)
    assert ids == sorted(f"row-{i}" for i in range(60))
    assert data.manifest.dropped == {"blank_query": 1, "duplicate": 1}
    assert data.manifest.num_rows == 60
    assert "dropped: blank_query 1, duplicate 1" in caplog.text


def test_the_manifest_counts_what_the_packs_hold(options, tmp_path):
    data = prepare_data(options, tmp_path / "data")
    manifest = data.manifest
    tokens = [len(pack.input_ids) for pack in data]
    assert max(tokens) <= options.max_length
    assert [int(pack.lengths.sum()) for pack in data] == tokens
    assert manifest.num_tokens == sum(tokens)
    assert manifest.num_packs == len(data)
    assert manifest.num_response_tokens == data.response_tokens.sum()
    assert manifest.real_token_share == pytest.approx(sum(tokens) / (len(data) * options.max_length))


def test_a_packed_document_is_the_row_and_its_targets_are_the_response(options, tmp_path, tiny_tokenizer):
    from metamath_ray.training._batches import collate

    for pack in prepare_data(options, tmp_path / "data"):
        ends = np.cumsum(pack.lengths)
        texts = [tiny_tokenizer.decode(ids) for ids in np.split(pack.input_ids, ends[:-1])]
        rows = [a_row(int(name[4:]), words=3 + int(name[4:]) % 20) for name in pack.row_ids]
        end = tiny_tokenizer.eos_token
        assert texts == [render_prompt(row["query"]) + row["response"] + end for row in rows]
        targets = collate([pack], pad_token_id=0).targets
        assert tiny_tokenizer.decode(targets[targets != -100]) == "".join(
            row["response"] + end for row in rows
        )


def test_unchanged_data_is_used_again(options, tmp_path, monkeypatch):
    before = prepare_data(options, tmp_path / "data")
    monkeypatch.setattr("metamath_ray.training._prepare.tokenise_rows", None)
    again = prepare_data(options.model_copy(update={"learning_rate": 1.0, "seed": 7}), tmp_path / "data")
    assert again.manifest == before.manifest


@pytest.mark.parametrize(
    "change",
    [{"max_length": 255}, {"packing": False}, {"compat": "paper"}, {"limit_rows": 59}, {"model": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_a_change_that_matters_packs_anew(options, tmp_path, change, tiny_model, monkeypatch):
    before = prepare_data(options, tmp_path / "data")
    if "model" in change:
        monkeypatch.setattr("metamath_ray.training._prepare.tokenizer_identity", lambda tokenizer: "other")
        change = {}
    after = prepare_data(options.model_copy(update=change), tmp_path / "data")
    assert after.key != before.key
    assert PackedData.open(tmp_path / "data", verify=True).key == after.key


def test_a_changed_row_packs_anew(options, data_file, tmp_path):
    before = prepare_data(options, tmp_path / "data").key
    data_file.write_text(data_file.read_text().replace("What is 0 + 1?", "What is 0 and 1?"))
    assert prepare_data(options, tmp_path / "data").key != before


def test_the_same_options_give_the_same_bytes(options, tmp_path):
    first, second = (prepare_data(options, tmp_path / name).manifest for name in "ab")
    assert dataclasses.replace(first, seconds=0) == dataclasses.replace(second, seconds=0)


def test_damaged_data_is_not_used_again(options, tmp_path):
    prepare_data(options, tmp_path / "data")
    path = tmp_path / "data" / "packs.arrow"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DamagedDataError, match="delete the folder to pack anew"):
        prepare_data(options, tmp_path / "data")


def long_row_options(tmp_path, model, **more):
    path = tmp_path / "long.jsonl"
    path.write_text("\n".join(json.dumps(a_row(i, words=words)) for i, words in enumerate((3, 300))))
    return TrainOptions(data=str(path), model=str(model), **{"max_length": 200, **more})


def test_a_row_that_would_lose_its_answer_is_dropped_and_counted(tiny_model, tmp_path):
    data = prepare_data(long_row_options(tmp_path, tiny_model), tmp_path / "data")
    assert data.manifest.dropped == {"too_long": 1}
    assert [pack.row_ids for pack in data] == [("row-0",)]


def test_paper_mode_cuts_a_long_row_and_packs_nothing(tiny_model, tmp_path):
    data = prepare_data(long_row_options(tmp_path, tiny_model, compat="paper"), tmp_path / "data")
    assert data.manifest.num_cut == 1
    assert data.manifest.dropped == {}
    assert not data.manifest.packing
    assert [pack.row_ids for pack in data] == [("row-0",), ("row-1",)]
    assert len(data[1].input_ids) == 200


@pytest.mark.parametrize("compat", ["fixed", "paper"])
def test_max_length_that_no_row_fits_is_an_error(tiny_model, tmp_path, compat):
    options = long_row_options(tmp_path, tiny_model, max_length=16, compat=compat)
    with pytest.raises(ValueError, match=r"max_length must be .* got 16; no row fits"):
        prepare_data(options, tmp_path / "data")


def test_without_packing_every_row_is_a_pack_in_its_order(options, tmp_path):
    data = prepare_data(options.model_copy(update={"packing": False}), tmp_path / "data")
    assert [pack.row_ids for pack in data] == [(f"row-{i}",) for i in range(60)]


def test_data_that_is_not_named_is_an_error(options, tmp_path):
    with pytest.raises(ValueError, match="give --data"):
        prepare_data(options.model_copy(update={"data": None}), tmp_path / "data")


@pytest.mark.slow
@pytest.mark.timeout(600)  # its workers import transformers, on a busy machine for a minute
def test_ray_data_tokenises_to_the_same_documents(tiny_model, monkeypatch):
    import ray

    rows = [
        DatasetRow(f"row-{i}", "T", f"What is {i}?", f"It is {i}.\nThe answer is: {i}") for i in range(500)
    ]
    alone = tokenise_rows(rows, model=str(tiny_model))
    monkeypatch.setattr("metamath_ray.training._tokenize._ROWS_A_BLOCK", 120)
    monkeypatch.setitem(os.environ, "RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        on_ray = tokenise_rows(rows, model=str(tiny_model))
    finally:
        ray.shutdown()
    for field in dataclasses.fields(alone):
        np.testing.assert_array_equal(getattr(alone, field.name), getattr(on_ray, field.name))


@pytest.mark.slow
@pytest.mark.published
def test_gsm8k_train_at_512_is_packed_to_at_least_92_percent_real_tokens(student_folder, published, tmp_path):
    options = TrainOptions(data=f"gsm8k:{published / 'gsm8k_train.jsonl'}", model=str(student_folder))
    manifest = prepare_data(options, tmp_path / "data").manifest
    assert manifest.num_rows + sum(manifest.dropped.values()) == 7473
    assert manifest.real_token_share >= 0.92
