import subprocess
import sys

SCRIPT = """
import os, sys
from metamath_ray._ray_noise import NOISE, hide_noise
os.write(2, b"before\\n")
hide_noise()
os.write(2, b"[E] core_worker.cc: Actor X " + NOISE + b". See\\n")
os.write(2, b"from below Python\\n")
print("from Python", file=sys.stderr)
{end}
"""


def shown(end: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr.splitlines()


def test_the_warning_alone_is_left_out() -> None:
    assert shown("sys.exit(3)") == (3, ["before", "from below Python", "from Python"])


def test_the_last_words_of_a_process_that_dies_come_out() -> None:
    assert shown("os.write(2, b'no end of line'); os._exit(1)") == (
        1,
        ["before", "from below Python", "from Python", "no end of line"],
    )
