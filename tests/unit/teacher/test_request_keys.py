"""A sample's key in the ledger: what enters it, and that it stays."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamath_ray.teacher import ChatRequest, TeacherOptions, request_keys
from metamath_ray.teacher._requests import canonical_json, prefix_of, sampling_of


def test_keys_stay_as_they_were_recorded():
    request = ChatRequest(
        ({"role": "system", "content": "Löse."}, {"role": "user", "content": "6 + 6?"}), 3, 1
    )
    assert request_keys(request, TeacherOptions(model="m")) == [KEY]


KEY = "7fbaaf3f2556efecbddc27e7884c0215b9b7a4e10c77dce4391fba8e1ddcfa7d"


@pytest.mark.parametrize(
    "changed",
    [
        {"base_url": "http://elsewhere/v1"},
        {"api_key_env": "OTHER_KEY"},
        {"rpm": 5, "tpm": 7, "max_in_flight": 3, "timeout": 9.0},
        {"samples_per_request": 1, "usd_per_million_prompt_tokens": 3.0},
    ],
    ids=["url", "api-key", "limits", "price"],
)
def test_a_key_does_not_depend_on_where_and_how_a_reply_is_bought(changed):
    request = ChatRequest(({"role": "user", "content": "6 + 6?"},), 0, 3)
    assert request_keys(request, TeacherOptions(**changed)) == request_keys(request, TeacherOptions())


@pytest.mark.parametrize(
    "changed", [{"model": "other"}, {"temperature": 0.1}, {"top_p": 0.5}, {"max_tokens": 9}], ids=str
)
def test_a_key_depends_on_all_that_shapes_a_reply(changed):
    request = ChatRequest(({"role": "user", "content": "6 + 6?"},))
    assert request_keys(request, TeacherOptions(**changed)) != request_keys(request, TeacherOptions())


@given(contents=st.lists(st.text(), min_size=1, max_size=5), sample=st.integers(0, 9))
def test_a_key_is_the_hash_of_the_whole_request_though_its_prefix_is_hashed_once(contents, sample):
    messages = tuple({"role": "user", "content": content} for content in contents)
    options = TeacherOptions()
    body = {"messages": list(messages), "model": options.model, "sampling": sampling_of(options)}
    plain = hashlib.sha256(canonical_json(body) + b"\n" + str(sample).encode()).hexdigest()
    assert request_keys(ChatRequest(messages, sample, 1), options) == [plain]
    assert prefix_of(messages).name == hashlib.sha256(canonical_json(list(messages[:-1]))).hexdigest()[:16]


def test_a_sample_has_the_same_key_whatever_it_is_asked_with():
    messages = ({"role": "user", "content": "6 + 6?"},)
    together = request_keys(ChatRequest(messages, 0, 4), TeacherOptions())
    assert len(set(together)) == 4
    assert request_keys(ChatRequest(messages, 2, 1), TeacherOptions()) == together[2:3]
