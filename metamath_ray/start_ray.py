"""Ray for a job: the cluster that RAY_ADDRESS names, or one on this machine."""

import logging
import os
import re
import signal
import socket
import threading
from pathlib import Path

_REACH_TIMEOUT_S = 10.0
_DEATHS_AT_START = 3
_JOB_FOLDERS = "/runtime_resources/working_dir_files/"
_OS_ERROR = re.compile(r"^\w*Error: \[Errno (\d+)\] (.+)$", re.MULTILINE)
_VERSIONS = re.compile(r"started with: Ray: (\S+) Python: (\S+)")


class ClusterError(ValueError):
    """The cluster of RAY_ADDRESS can't be used; the text is one line that says why and what to do."""


def start_ray(*, needs_dashboard: bool = False, shows_worker_output: bool = True) -> None:
    """Connect, or start a cluster on this machine.

    A local cluster is a new one, whatever runs here already; it asks for a token and listens on loopback.
    `needs_dashboard`: Ray Train asks the dashboard's State API whether its controller lives, and warns every second
    where there is none. Raises `ClusterError` where RAY_ADDRESS names no cluster or one of other versions, and
    `OSError` where Ray does not start here.
    A handler of SIGTERM stays what it was: Ray puts its own, which ends the process, in its place.
    """
    address, is_local = os.environ.get("RAY_ADDRESS", ""), starts_here()
    if not is_local:
        _check_address(address)
    os.environ.setdefault("RAY_AUTH_MODE", "token" if is_local else "disabled")
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # no colours in what workers print: it may go to a file
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    local = {"include_dashboard": needs_dashboard, "dashboard_host": "127.0.0.1"} if is_local else {}
    try:
        ray.init(
            "local" if is_local else None,  # without it Ray joins a cluster that it finds on this machine
            log_to_driver=shows_worker_output,
            logging_level=logging.ERROR,
            **local,
        )
    except (RuntimeError, ConnectionError, ray.exceptions.RayError) as error:
        ray.shutdown()
        if is_local:
            raise OSError(f"Ray did not start on this machine: {_one_line(error)}") from None
        raise ClusterError(_why_not(address, error)) from None
    if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)


def starts_here() -> bool:
    """Whether `start_ray` starts a cluster on this machine: RAY_ADDRESS names none."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def prepare_ray_data() -> None:
    """Ray Data as jobs want it; Ray must run.

    A worker that dies as it starts, as on a busy machine, is replaced. No progress bars beside the job's own, nor a
    warning of every pool of actors.
    """
    import ray

    from metamath_ray._ray_noise import hide_noise

    hide_noise()

    context = ray.data.DataContext.get_current()
    context.max_consecutive_actor_init_deaths = _DEATHS_AT_START
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []  # they warn of actors that wait for the network, as ours do
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that its bars are off, as told
    for name in (
        "ray.data._internal.execution",
        "ray.data.exceptions",
    ):  # what is raised is told once, by the job
        logging.getLogger(name).setLevel(logging.CRITICAL)


def os_error_in(error: Exception) -> OSError | None:
    """The `OSError` that a worker died of, such as a full disk; Ray hands on no more of it than its text."""
    found = _OS_ERROR.findall(str(error))
    return OSError(int(found[-1][0]), found[-1][1]) if found else None


def check_output(folder: Path, *, option: str) -> None:
    """Raise `ValueError` where a relative folder would be lost with the working directory of a submitted job."""
    if not folder.is_absolute() and _JOB_FOLDERS in f"{Path.cwd()}/":
        raise ValueError(
            f"{option} {folder} is relative: under `ray job submit` it would be lost with the job's copy of the "
            "working directory; give an absolute path on storage that all nodes share"
        )


def _check_address(address: str) -> None:
    """Raise `ClusterError` where nothing listens there; Ray itself would try for a minute, and tell of each try."""
    if address.startswith(("http://", "https://")):
        raise ClusterError(
            f"RAY_ADDRESS {address} is a dashboard's, for `ray job submit`; give the cluster's own, HOST:6379"
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise ClusterError(f"RAY_ADDRESS must be HOST:PORT, auto or local, got {address!r}; or unset it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at RAY_ADDRESS {address}: {error}; start one there, or unset it to run here"
        ) from None


def _why_not(address: str, error: Exception) -> str:
    versions = _VERSIONS.findall(_one_line(error))
    if len(versions) == 2:
        (its_ray, its_python), (our_ray, our_python) = versions
        return (
            f"the Ray cluster at {address} runs Ray {its_ray} on Python {its_python}, this is Ray {our_ray} on "
            f"Python {our_python}; both must be the same on all machines"
        )
    return f"the Ray cluster at {address} can't be used: {_one_line(error)}; mend RAY_ADDRESS, or unset it"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
