"""Serve a model behind OpenAI's protocol: vLLM on Ray Serve, on CPU or GPUs, until it is interrupted.

    python jobs/serve_model.py --model MODEL_FOLDER --port 8000
    curl http://127.0.0.1:8000/v1/models

Completions and chat, streaming, n, logprobs, usage. Anything but this machine's own address asks for a bearer key,
which it takes from the environment variable METAMATH_RAY_SERVE_KEY. SIGTERM and Ctrl-C let the requests that run
come to their end, for --drain-timeout-s, and refuse new ones; a second one ends at once.

Exit codes: 0 interrupted after it served, 2 bad input, 1 the engine failed, 130 interrupted before it served.
"""

import logging
import sys
import time
from contextlib import suppress
from pathlib import Path

import _python  # noqa: F401  # before all that a wrong Python lacks

from metamath_ray.evaluation import (
    Endpoint,
    EngineLostError,
    EngineSetup,
    EngineStartError,
    ServeOptions,
    check_port,
    failure_of,
    hash_key,
    place_engines,
    resolve_adapter,
    resolve_model,
    run_application,
    start_ray_for_serve,
)
from metamath_ray.interrupt import INTERRUPTED, end_on_signals
from metamath_ray.options import fail, parse_options
from metamath_ray.start_ray import starts_here

NAME = "model"
WATCH_S = 5.0
GRACE_S = 60.0
"""Seconds to take the engines down, once they have drained."""


def main(argv: list[str]) -> None:
    """Run the job and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    end_on_signals("error: interrupted")
    try:
        options = parse_options(ServeOptions, argv, prog="serve_model.py", description=__doc__ or "")
        model, adapter = resolve_model(options.model), resolve_adapter(options.adapter)
        if starts_here():  # else the port is the cluster's, where Serve may hold it already
            check_port(options.host, options.port)
        start_ray_for_serve()
        serve(options, place_engines(options, model=model, adapter=adapter))
    except (ValueError, ModuleNotFoundError) as error:
        fail(str(error), 2)
    except EngineStartError as error:
        fail(f"the engine did not start: {error}", 1)
    except EngineLostError as error:
        fail(str(error), 1)
    except OSError as error:
        fail(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:  # said already
        sys.exit(INTERRUPTED)
    print("ended")


def serve(options: ServeOptions, setup: EngineSetup) -> None:
    """Serve until interrupted. Raises `EngineStartError`, and `EngineLostError` where no engine comes up again."""
    name = options.served_name or Path(setup.model).name
    endpoint = Endpoint(options.host, options.port, name, hash_key(options.api_key()))
    print(f"starting {options.replicas} x {setup.model} on {setup.device}", flush=True)
    key = f", key in {options.api_key_env}" if options.api_key() else ""
    with (
        run_application(
            setup, replicas=options.replicas, name=NAME, endpoint=endpoint, drain_s=options.drain_timeout_s
        ),
        suppress(KeyboardInterrupt),
    ):
        end_on_signals(
            f"ending within {options.drain_timeout_s:.0f} s", patience_s=options.drain_timeout_s + GRACE_S
        )
        print(f"serving {name} at http://{options.host}:{options.port}/v1{key}", flush=True)
        while (reason := failure_of(NAME)) is None:
            time.sleep(WATCH_S)
        raise EngineLostError(f"the engine is lost: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
