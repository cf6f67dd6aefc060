"""What is read in an endpoint's limit headers, and what the governor does with it."""

import pytest

from metamath_ray.teacher import Governor, TeacherOptions
from metamath_ray.teacher._demands import Demand, EndpointReport
from metamath_ray.teacher._limit_headers import SeenLimits, Window, read_limits, read_reset_s

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("17ms", 0.017),
        ("1d2h", 93_600.0),
        ("59.7", 59.7),
        ("60", 60.0),
        ("0", 0.0),
        ("2027-01-15T08:01:00Z", 60.0),
        ("2027-01-15T10:01:00+02:00", 60.0),
        ("2027-01-15T08:01:00", 60.0),
        ("2001-01-01T00:00:00Z", 0.0),
        ("1800000030", 30.0),
        ("1800000030000", 30.0),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("nan", None),
        ("5 parsecs", None),
        ("3m later", None),
    ],
)
def test_a_reset_is_read_in_the_forms_that_providers_use(text, seconds):
    read = read_reset_s(text, now=lambda: NOW)
    assert read == (seconds if seconds is None else pytest.approx(seconds))


def headers(unit: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": limit,
        f"x-ratelimit-remaining-{unit}": remaining,
        f"x-ratelimit-reset-{unit}": reset,
    }


def test_requests_and_tokens_are_read_and_what_is_missing_is_unknown():
    seen = read_limits(headers("requests", "60", "59", "1s") | {"x-ratelimit-remaining-tokens": "149984"})
    assert seen == SeenLimits(Window(60, 59, 1.0), Window(None, 149_984, None))
    assert read_limits({"content-type": "application/json"}) is None
    assert read_limits(headers("requests", "many", "some", "later")) is None


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "period_s"),
    [("60", "59", "1s", 60.0), ("14400", "14370", "2m59.56s", 86_189.0), ("500", "500", "0s", None)],
    ids=["by the minute", "by the day", "untouched"],
)
def test_the_period_of_a_limit_shows_in_what_is_left_and_when_it_is_back(limit, remaining, reset, period_s):
    seen = read_limits(headers("requests", limit, remaining, reset))
    assert seen is not None
    assert seen.requests.period_s == (period_s if period_s is None else pytest.approx(period_s, rel=0.01))


class Told:
    """A governor to which one worker brings headers."""

    def __init__(self, **options: object) -> None:
        self.now = 0.0
        self.governor = Governor(TeacherOptions(**options), clock=lambda: self.now)  # type: ignore[arg-type]

    def lease(self, *seen: dict[str, str], waiting: int = 100):
        limits = read_limits({name: value for some in seen for name, value in some.items()})
        return self.governor.lease("w", Demand(waiting, (EndpointReport(limits=limits),)))

    @property
    def status(self):
        return self.governor.status().endpoints[0]


def test_a_limit_by_the_minute_is_taken_over_where_none_was_given():
    told = Told()
    told.lease(headers("requests", "60", "30", "30s"), headers("tokens", "60000", "59000", "1s"))
    assert (told.status.rpm, told.status.tpm) == (60, 60_000)


def test_the_lower_of_the_users_limit_and_the_endpoints_holds(caplog):
    told = Told(rpm=3000)
    told.lease(headers("requests", "500", "499", "120ms"))
    assert told.status.rpm == 500
    assert "allows 500 requests a minute, not the 3000 of the options" in caplog.text
    mild = Told(rpm=100)
    mild.lease(headers("requests", "500", "499", "120ms"))
    assert mild.status.rpm == 100


def test_a_limit_by_the_day_is_no_limit_by_the_minute():
    told = Told()
    told.lease(headers("requests", "14400", "14370", "2m59.56s"))
    assert told.status.rpm is None
    assert told.lease().requests > 0


def test_an_endpoint_that_has_nothing_left_is_left_alone_until_its_reset():
    told = Told()
    assert told.lease(headers("requests", "100", "0", "20s")).requests == 0
    assert told.status.paused_s == 20.0
    told.now = 20.0
    assert told.lease().requests > 0


def test_a_quota_that_is_back_in_hours_stops_the_run():
    told = Told(give_up_after=600.0)
    stop = told.lease(headers("requests", "200", "0", "7h12m0s")).stop
    assert "used up for the next 25920 s" in str(stop)


def test_others_that_use_the_same_key_are_seen_in_what_remains():
    told = Told(rpm=6000)
    told.now = 10.0
    told.lease(waiting=0)
    told.now = 11.0
    assert told.lease(headers("requests", "6000", "3", "59.97s")).requests <= 3
