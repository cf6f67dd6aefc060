"""What a user says of a served model; the engine's own options are those of an evaluation."""

import ipaddress
import os
import socket

from pydantic import Field, model_validator

from metamath_ray.evaluation._options import ModelOptions


class ServeOptions(ModelOptions):
    """A model, where it is reached, and how it runs."""

    served_name: str = Field(
        "", description="name that clients ask for (default: the folder's or the hub's name)"
    )
    host: str = Field("127.0.0.1", description="address to listen on; any but this machine's own needs a key")
    port: int = Field(8000, ge=1, le=65_535, description="port to listen on")
    api_key_env: str = Field(
        "METAMATH_RAY_SERVE_KEY",
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="environment variable with the bearer key that clients must send; unset: none, on loopback only",
    )
    drain_timeout_s: float = Field(
        60.0, ge=0, description="at the end, seconds that running requests have to come to theirs"
    )

    @model_validator(mode="after")
    def _is_safe_to_serve(self) -> "ServeOptions":
        if not self.model:
            raise ValueError("model must be given")
        if not is_loopback(self.host) and not self.api_key():
            raise ValueError(
                f"host {self.host} can be reached from other machines: put a key into the environment variable "
                f"{self.api_key_env}, or listen on 127.0.0.1"
            )
        return self

    def api_key(self) -> str:
        """The key that clients must send, from the environment; empty for none."""
        return os.environ.get(self.api_key_env, "")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_port(host: str, port: int) -> None:
    """Raise `ValueError` where nothing can listen on that address and port now."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ValueError(
            f"port {port} on {host} can't be used: {error.strerror}; give another --port"
        ) from None
