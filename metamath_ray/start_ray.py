"""Ray for a job: the cluster that RAY_ADDRESS names, or one on this machine."""

import logging
import os


def start_ray(*, needs_dashboard: bool = False, shows_worker_output: bool = True) -> None:
    """Connect, or start a cluster on this machine.

    A local cluster asks for a token and listens on loopback. `needs_dashboard`: Ray Train asks the dashboard's
    State API whether its controller lives, and warns every second where there is none.
    """
    is_local = "RAY_ADDRESS" not in os.environ
    os.environ.setdefault("RAY_AUTH_MODE", "token" if is_local else "disabled")
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    local = {"include_dashboard": needs_dashboard, "dashboard_host": "127.0.0.1"} if is_local else {}
    ray.init(log_to_driver=shows_worker_output, logging_level=logging.ERROR, **local)


def quiet_ray_data() -> None:
    """No progress bars of Ray Data's own beside the job's. Ray must run."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []  # they warn of actors that wait for the network, as ours do
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that its bars are off, as told
