"""Several keys or endpoints: how they are said on the command line and in YAML."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from metamath_ray.options import BadOptionsError, parse_options
from metamath_ray.teacher import Endpoint, TeacherOptions, read_api_keys, resolve_endpoints


class JobOptions(BaseModel):
    teacher: TeacherOptions = TeacherOptions()


def parse(*argv: str) -> TeacherOptions:
    return parse_options(JobOptions, argv, prog="job", description="").teacher


def test_the_single_endpoint_is_short_for_a_list_of_one():
    options = parse("--teacher.base-url", "http://a/v1", "--teacher.rpm", "5", "--teacher.max-in-flight", "3")
    assert resolve_endpoints(options) == (
        Endpoint("http://a/v1", "http://a/v1", "OPENAI_API_KEY", 5, None, 3),
    )


FLAGS = [
    "--teacher.max-in-flight",
    "9",
    "--teacher.endpoints",
    "base_url=http://a/v1,api_key_env=KEY_A,rpm=5,tpm=50",
    "base-url=http://a/v1, max-in-flight=2",
    "base_url=http://b/v1",
]
YAML = """
teacher:
  max_in_flight: 9
  endpoints:
    - {base_url: http://a/v1, api_key_env: KEY_A, rpm: 5, tpm: 50}
    - {base_url: http://a/v1, max_in_flight: 2}
    - base_url=http://b/v1
"""
RESOLVED = (
    Endpoint("http://a/v1 (KEY_A)", "http://a/v1", "KEY_A", 5, 50, 9),
    Endpoint("http://a/v1 (OPENAI_API_KEY)", "http://a/v1", "OPENAI_API_KEY", None, None, 2),
    Endpoint("http://b/v1", "http://b/v1", "OPENAI_API_KEY", None, None, 9),
)


def test_flags_and_yaml_say_the_same(tmp_path: Path):
    config = tmp_path / "job.yaml"
    config.write_text(YAML)
    assert resolve_endpoints(parse(*FLAGS)) == resolve_endpoints(parse("--config", str(config))) == RESOLVED


def test_what_was_written_down_is_read_again():
    options = parse(*FLAGS)
    assert TeacherOptions.model_validate(options.model_dump(mode="json")) == options


def test_limits_add_up_where_every_endpoint_has_one():
    options = parse("--teacher.endpoints", "base_url=http://a/v1,rpm=5,tpm=7", "base_url=http://b/v1,rpm=6")
    assert (options.total_rpm, options.total_tpm, options.total_in_flight) == (11, None, 128)
    assert options.has_endpoint


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["http://a/v1"], "teacher.endpoints must each be base_url=URL"),
        (["base_url=ftp://a"], "teacher.endpoints.0.base_url must be an http:// or https:// address"),
        (["base_url=http://a/v1,rpm=0"], "teacher.endpoints.0.rpm must be greater than or equal to 1, got '0'"),
        (["rpm=5"], "teacher.endpoints.0.base_url"),
        (["base_url=http://a/v1,rmp=5"], "unknown option teacher.endpoints.0.rmp"),
        (["base_url=http://a/v1", "base_url=http://a/v1/"], "endpoints name http://a/v1 with the key in OPENAI_API_KEY twice"),
        (["base_url=http://a/v1", "--teacher.rpm", "5"], "takes either endpoints or rpm"),
        (["base_url=http://me:secret@a/v1"], "must hold no user, password or query"),
        (["base_url=http://a/v1,api_key_env=sk-secret"], "teacher.endpoints.0.api_key_env"),
    ],
    ids=["no names", "no url", "bad number", "no base_url", "unknown", "twice", "both", "password", "a key"],
)  # fmt: skip
def test_a_mistake_is_one_clear_line_without_a_secret(argv, line):
    with pytest.raises(BadOptionsError) as error:
        parse("--teacher.endpoints", *argv)
    assert line in str(error.value)
    assert "secret" not in str(error.value).replace("must hold no user, password or query", "")


def test_each_key_is_read_from_its_own_variable(monkeypatch):
    monkeypatch.setenv("KEY_A", "sk-a")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    keys = read_api_keys(parse(*FLAGS))
    assert {name: key.get_secret_value() for name, key in keys.items()} == {
        "KEY_A": "sk-a",
        "OPENAI_API_KEY": "none",
    }
    assert "sk-a" not in repr(keys)
