"""The files of Ray's cluster launcher: valid by Ray's own schema, with nothing public and only the build on spot."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray import autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config

FOLDER = Path(__file__).resolve().parents[3] / "cluster"
SCHEMA = json.loads((Path(autoscaler.__file__).parent / "ray-schema.json").read_text())
CLOUDS = ["aws", "gcp"]


def load(cloud: str) -> Any:
    return yaml.safe_load((FOLDER / f"{cloud}.yaml").read_text())


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_the_file(cloud: str) -> None:
    config = load(cloud)
    jsonschema.validate(config, SCHEMA)
    prepared = prepare_config(config)  # with Ray's defaults
    validate_config(prepared)
    assert prepared["setup_commands"] == []  # the default one fetches a nightly Ray


def test_ray_refuses_what_it_does_not_know() -> None:
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        jsonschema.validate(load("aws") | {"idle_timeout": 1}, SCHEMA)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_node_has_a_public_address_or_port(cloud: str) -> None:
    config = load(cloud)
    assert config["provider"]["use_internal_ips"]
    assert config["auth"]["ssh_proxy_use_node_id"]
    for node in config["available_node_types"].values():
        node_config = node["node_config"]
        if cloud == "aws":  # Ray's own group opens port 22 to the world; it is made where none is named
            assert node_config["SecurityGroupIds"] == ["SECURITY_GROUP"]
            assert "NetworkInterfaces" not in node_config
        else:
            assert all("accessConfigs" not in one for one in node_config["networkInterfaces"])
    commands = " ".join(config["head_start_ray_commands"] + config["worker_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in commands
    assert "0.0.0.0" not in commands


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_node_asks_for_the_token_and_no_secret_is_written_here(cloud: str) -> None:
    config = load(cloud)
    assert "--env=RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    asks = [
        line for line in config["available_node_types"]["head"]["initialization_commands"] if "KEY" in line
    ]
    assert len(asks) == 1
    assert asks[0].startswith("umask 077 && ")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_the_build_is_on_spot(cloud: str) -> None:
    nodes = load(cloud)["available_node_types"]
    assert {name for name, node in nodes.items() if "spot" in json.dumps(node["node_config"]).lower()} == {
        "build"
    }


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_gpu_node_has_eight_and_the_image_for_them(cloud: str) -> None:
    nodes = load(cloud)["available_node_types"]
    gpu_nodes = {name: node for name, node in nodes.items() if node["resources"].get("GPU")}
    assert set(gpu_nodes) == {"a100-40gb", "a100-80gb"}
    for node in gpu_nodes.values():
        assert node["resources"]["GPU"] == 8
        assert node["docker"]["worker_image"] == "metamath-ray:gpu"
        assert any(option.startswith("--shm-size=") for option in node["docker"]["worker_run_options"])
    assert all(node.get("min_workers", 0) == 0 for node in nodes.values())
