import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from model_double import MODEL, vector_of

from metamath_ray.analysis import (
    AnalysisOptions,
    BadEndpointError,
    EndpointFailedError,
    plan_analysis,
    run_analyses,
)
from metamath_ray.dataset_rows import read_dataset_rows


@pytest.fixture
def options_for(tmp_path, data_file, base_file, endpoint):
    def options(embedder=None, *, output="out", diversity=None, **embedding):
        embedding = {
            "model": MODEL,
            "cache": tmp_path / "cache",
            "batch_size": 7,
            "max_retries": 1,
        } | embedding
        return AnalysisOptions(
            analyses=("diversity",),
            data=str(data_file),
            base=str(base_file),
            embedder=embedder or f"endpoint:{endpoint.base_url}",
            embedding=embedding,
            diversity=diversity or {},
            output=tmp_path / output,
        )

    return options


def run(options):
    summary = run_analyses(plan_analysis(options))
    return json.loads(summary.read_text())["diversity"], pq.read_table(summary.parent / "diversity.parquet")


def plain_gain(data, base, embed, *, unit_length=True):
    def vectors(path):
        rows = [embed(f"{row.query}\n{row.response}") for row in read_dataset_rows(str(path))]
        found = np.array(rows, np.float64)
        return found / np.linalg.norm(found, axis=1, keepdims=True) if unit_length else found

    difference = vectors(data)[:, None] - vectors(base)[None]
    return (difference**2).sum(axis=2).min(axis=1)


@pytest.mark.parametrize("unit_length", [True, False], ids=["unit-length", "as-given"])
def test_the_gain_is_the_mean_smallest_squared_distance(options_for, data_file, base_file, unit_length):
    result, table = run(options_for(diversity={"unit_length": unit_length}))
    wanted = plain_gain(data_file, base_file, vector_of, unit_length=unit_length)
    np.testing.assert_allclose(table.column("squared_distance").to_numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert result["total"]["gain"] == pytest.approx(wanted.mean(), rel=1e-4)
    of_fobar = [
        value
        for value, kind in zip(wanted, table.column("type").to_pylist(), strict=True)
        if kind == "GSM_FOBAR"
    ]
    assert result["by_type"]["GSM_FOBAR"]["gain"] == pytest.approx(np.mean(of_fobar), rel=1e-4)


def test_each_row_names_its_nearest_base_row(options_for):
    _, table = run(options_for())
    rows = {row["row_id"]: row for row in table.to_pylist()}
    assert rows["r35"]["nearest_row_id"] == "r35"
    assert rows["r35"]["squared_distance"] == 0
    assert len(rows) == 40


def test_no_text_is_embedded_twice_not_even_by_another_run(options_for, endpoint):
    run(options_for())
    assert len(endpoint.texts) == len(set(endpoint.texts)) == 69, "one text is in both sets"
    first, _ = run(options_for(output="again"))
    assert len(endpoint.texts) == 69
    assert first["num_embedded"] == 0


def test_what_was_embedded_before_a_failure_is_kept(options_for, endpoint):
    endpoint.fail_for = "Tom has 33 apples"
    options = options_for(max_retries=0, max_in_flight=1)
    with pytest.raises(EndpointFailedError, match="answers 500: told to fail"):
        run(options)
    endpoint.fail_for = ""
    before = set(endpoint.texts)
    assert len(before) >= 7
    endpoint.texts.clear()
    run(options)
    assert not before & set(endpoint.texts)


def test_a_rate_limit_and_a_server_error_are_waited_out(options_for, endpoint):
    options = options_for(max_retries=3)
    plan = plan_analysis(options)
    endpoint.statuses = [429, 200, 503]
    run_analyses(plan)
    assert not endpoint.statuses


@pytest.mark.parametrize(
    ("behaviour", "embedding", "message"),
    [
        ({"api_key": "right"}, {}, "answers 401: Incorrect API key"),
        ({}, {"model": "other"}, "answers 404: The model `other` does not exist"),
        ({"drop_last": True}, {}, "the answer holds 0 embeddings for 1 texts"),
        ({"statuses": [500] * 9}, {"max_retries": 0}, "answers 500"),
    ],
    ids=["key", "model", "too-few-vectors", "down"],
)
def test_an_endpoint_that_fails_is_one_line_before_anything_runs(
    options_for, endpoint, tmp_path, behaviour, embedding, message
):
    for name, value in behaviour.items():
        setattr(endpoint, name, value)
    with pytest.raises(BadEndpointError, match=r".") as error:
        plan_analysis(options_for(**embedding))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_endpoint_that_is_not_there_is_named(options_for):
    with pytest.raises(BadEndpointError, match=r"no endpoint answers at http://127\.0\.0\.1:9/v1"):
        plan_analysis(options_for("endpoint:http://127.0.0.1:9/v1", max_retries=0))


def test_the_key_comes_from_the_environment_and_stays_out_of_the_output(
    options_for, endpoint, monkeypatch, tmp_path
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-17")
    endpoint.api_key = "sk-canary-17"
    run(options_for())
    assert endpoint.keys == {"Bearer sk-canary-17"}
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-canary" not in path.read_bytes()


def test_a_model_in_a_folder_embeds_by_the_mean_of_its_last_states(
    options_for, tiny_model, data_file, base_file
):
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(tiny_model).eval(), AutoTokenizer.from_pretrained(tiny_model)

    def embed(text):
        with torch.inference_mode():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy()

    result, table = run(options_for(f"model:{tiny_model}"))
    wanted = plain_gain(data_file, base_file, embed)
    np.testing.assert_allclose(table.column("squared_distance").to_numpy(), wanted, rtol=1e-4, atol=1e-4)
    assert result["num_cut"] == 0


def test_texts_that_the_model_cuts_are_counted(options_for, tiny_model):
    result, _ = run(options_for(f"model:{tiny_model}", max_length=16))
    assert result["num_cut"] == 69


@pytest.mark.parametrize(
    ("pooling", "module", "message"),
    [
        (
            {"pooling_mode_max_tokens": True},
            "sentence_transformers.models.Pooling",
            "pooling_mode_max_tokens is not known",
        ),
        (
            {"pooling_mode_cls_token": True},
            "sentence_transformers.models.Dense",
            "its module Dense is not known",
        ),
    ],
    ids=["pooling", "module"],
)
def test_a_sentence_transformer_that_can_not_be_followed_is_refused(
    options_for, tiny_model, tmp_path, pooling, module, message
):
    import shutil

    folder = tmp_path / "embedder"
    shutil.copytree(tiny_model, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": module, "path": "1_Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=message):
        plan_analysis(options_for(f"model:{folder}"))
