"""The client's look at an endpoint before a run, and what status, headers and odd bodies mean."""

import asyncio
import email.utils
import time
from typing import Any

import pytest
from teacher_double import MODEL, DoubleOptions, serve

from metamath_ray.teacher import ApiKey, Reject, Retry, Stop, TeacherOptions, check_endpoints
from metamath_ray.teacher._client import parse_completion
from metamath_ray.teacher._faults import classify_status, retry_after_s


def check_endpoint(*, model: str = MODEL, key: str = "sk-right", base_url: str = "", **double: Any) -> Any:
    async def check() -> Any:
        async with serve(DoubleOptions(**double)) as server:
            options = TeacherOptions(base_url=base_url or server.base_url, model=model, timeout=5)
            faults = await check_endpoints(options, {"OPENAI_API_KEY": ApiKey(key)})
            return next(iter(faults.values()), None)

    return asyncio.run(asyncio.wait_for(check(), 60))


def test_an_endpoint_that_takes_key_and_model_passes():
    assert check_endpoint(api_key="sk-right", owned_by="vllm") is None


def test_a_gateways_list_may_leave_models_out():
    assert check_endpoint(model="hidden") is None


def test_a_model_that_vllm_does_not_serve_is_named_before_the_run():
    fault = check_endpoint(model="other", owned_by="vllm")
    assert fault == Stop("the teacher serves no model 'other', but: double-1")


def test_a_wrong_key_is_told_before_the_run_and_not_shown():
    fault = check_endpoint(key="sk-wrong", api_key="sk-right")
    assert isinstance(fault, Stop)
    assert "refused the API key (401)" in fault.reason
    assert "sk-" not in fault.reason


def test_an_endpoint_that_is_not_there_is_named():
    fault = check_endpoint(base_url="http://127.0.0.1:9/v1")
    assert isinstance(fault, Stop)
    assert "no teacher answers at http://127.0.0.1:9/v1" in fault.reason


def error(code: Any, kind: Any = None) -> dict[str, Any]:
    return {"error": {"message": "so", "code": code, "type": kind}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("context_length_exceeded"), Reject),
        (413, "too large", Reject),
        (422, error(None), Reject),
        (401, error("invalid_api_key"), Stop),
        (402, error(None), Stop),
        (403, "<html>forbidden</html>", Stop),
        (404, error("model_not_found"), Stop),
        (405, "", Stop),
        (429, error("insufficient_quota"), Stop),
        (429, error(None, "insufficient_quota"), Stop),
        (429, error("rate_limit_exceeded"), Retry),
        (408, "", Retry),
        (500, error(None), Retry),
        (502, "<html>bad gateway</html>", Retry),
        (503, None, Retry),
        (529, error(None), Retry),
    ],
    ids=str,
)
def test_a_status_means_what_the_design_says(status, body, kind):
    assert isinstance(classify_status(status, {}, body), kind)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "172800"}, 172_800.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-4"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0.0),
    ],
    ids=str,
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert retry_after_s(headers) == seconds


def test_retry_after_as_a_date_counts_from_now():
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert retry_after_s({"retry-after": date}) == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        [],
        {},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": 3},
    ],
    ids=str,
)
def test_a_body_that_is_no_completion_counts_as_a_transport_failure(answer):
    assert isinstance(parse_completion(answer), Retry)


@pytest.mark.parametrize(("code", "kind"), [(401, Stop), (429, Retry), (400, Reject), ("odd", Retry)])
def test_an_error_sent_with_status_200_counts_as_what_it_is(code, kind):
    assert isinstance(parse_completion(error(code)), kind)


def test_choices_are_taken_in_the_order_of_their_index():
    choices = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (2, 0, 1)]
    completion = parse_completion({"choices": choices})
    assert [choice.text for choice in completion.choices] == ["0", "1", "2"]


def reply(content: Any, **usage: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": "stop"}], **usage}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "It is "}, {"type": "text", "text": "2."}], "It is 2."),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "2"}], "2"),
        ([], ""),
        ({"odd": 1}, ""),
        (None, ""),
    ],
    ids=str,
)
def test_a_message_in_parts_is_their_text(content, text):
    completion = parse_completion(reply(content))
    assert [choice.text for choice in completion.choices] == [text]


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": []}, {"usage": {"prompt_tokens": "?"}}], ids=str)  # fmt: skip
def test_a_reply_without_a_bill_is_billed_by_its_size(usage):
    """Else it would cost nothing, and neither tokens a minute nor a budget would hold."""
    completion = parse_completion(reply("x" * 300, **usage), size_sent=600)
    assert (completion.prompt_tokens, completion.completion_tokens) == (200, 100)


def test_a_bill_is_believed():
    completion = parse_completion(reply("x", usage={"prompt_tokens": 7, "completion_tokens": 0}), size_sent=9)
    assert (completion.prompt_tokens, completion.completion_tokens) == (7, 0)
