"""What each failure of the teacher's endpoint means: ask again, give this request up, or stop the run."""

import email.utils
import json
import time
from dataclasses import dataclass
from typing import Any

_STOP_STATUS = {
    401: "the teacher refused the API key (401)",
    403: "the teacher forbids this request (403)",
    402: "the teacher wants to be paid first (402)",
    404: "the teacher knows no such model or path (404)",
    405: "the teacher's path takes no chat requests (405)",
}
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again; `retry_after_s` where the server named a time, `slow_down` where it asked for less."""

    cause: str
    retry_after_s: float | None = None
    slow_down: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """This request will never be answered (a 400); the run goes on."""

    detail: str


@dataclass(frozen=True, slots=True)
class Stop:
    """No request will be answered; the run stops, resumable."""

    reason: str


Fault = Retry | Reject | Stop


def classify_status(status: int, headers: dict[str, str], body: Any) -> Fault:
    """What an HTTP status other than 2xx means. `headers` in lower case; `body` parsed JSON or text."""
    codes, message = _error_of(body)
    if exhausted := sorted(_QUOTA_CODES & codes):
        return Stop(f"the teacher's quota is exhausted ({exhausted[0]}): {message}")
    if status in _STOP_STATUS:
        return Stop(f"{_STOP_STATUS[status]}: {message}")
    if status == 429 or status == 503:
        return Retry(f"http_{status}", retry_after_s(headers), slow_down=True)
    if status in (408, 409, 425) or status >= 500:
        return Retry(f"http_{status}", retry_after_s(headers))
    return Reject(f"{status}: {message}")


def classify_error(error: Exception) -> Fault:
    """What an exception of the `openai` client, of its transport or of the JSON in an answer means."""
    import openai

    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return Retry("timeout")
    if isinstance(error, openai.APIStatusError):
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        return classify_status(error.status_code, headers, error.body)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | openai.APIResponseValidationError):
        return Retry("truncated_json")
    return Retry(f"connection: {error.__cause__ or error}")


def retry_after_s(headers: dict[str, str]) -> float | None:
    """Seconds named by `retry-after-ms` or `retry-after` (seconds or an HTTP date); None where neither is."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is None or 0 <= number < float("inf") else None


def _error_of(body: Any) -> tuple[set[str], str]:
    """Code and type, and message, of an OpenAI error body; cut short: it may be a page of HTML."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        message = error.get("message") or json.dumps(error)
        codes = {str(error[name]) for name in ("code", "type") if error.get(name)}
        return codes, " ".join(str(message).split())[:300]
    return set(), " ".join(str(error).split())[:300]
