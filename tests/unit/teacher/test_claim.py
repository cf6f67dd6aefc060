"""One run at a time adds to a ledger."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metamath_ray.teacher import LedgerInUseError, claim_ledger, segment_paths

HOLD = "import sys, time; from pathlib import Path; from metamath_ray.teacher import claim_ledger\n"
HOLD += "with claim_ledger(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


def test_a_second_run_is_refused_with_a_line_that_names_the_first(tmp_path: Path):
    (tmp_path / "other").symlink_to(tmp_path / "ledger")
    with claim_ledger(tmp_path / "ledger"):
        for name in ("ledger", "other"):
            says = rf"{re.escape(str(tmp_path))}/ledger is in use by process \d+ on .*--ledger"
            with pytest.raises(LedgerInUseError, match=says), claim_ledger(tmp_path / name):
                pass
    with claim_ledger(tmp_path / "other"):
        assert segment_paths(tmp_path / "ledger") == []


def test_a_claim_ends_with_its_process_however_that_ends(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LedgerInUseError, match=f"in use by process {holder.pid} on"),
            claim_ledger(tmp_path),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with claim_ledger(tmp_path):
        pass
