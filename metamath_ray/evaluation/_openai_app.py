"""OpenAI's protocol over one engine: vLLM's own server application behind a gate. Imports vLLM: for replicas only."""

from typing import Any

from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from metamath_ray.evaluation._gate import Gate
from metamath_ray.evaluation._setup import EngineSetup, engine_arguments


async def build(engine: Any, setup: EngineSetup, *, served_name: str, key_sha256: str) -> Gate:
    """An ASGI application: completions and chat with all that vLLM's server can, for the one model."""
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    for name, value in engine_arguments(setup).items():
        setattr(arguments, name, value)
    arguments.served_model_name = [served_name]
    arguments.disable_fastapi_docs = True
    tasks = await engine.get_supported_tasks()
    app = build_app(arguments, tasks, engine.model_config)
    await init_app_state(engine, app.state, arguments, tasks)
    return Gate(app, key_sha256=key_sha256)
