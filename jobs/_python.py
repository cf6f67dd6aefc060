"""Says in one line what this Python lacks; the jobs import it first. Any Python 3 must be able to read it."""

import sys
from importlib.util import find_spec


def _missing() -> str:
    if tuple(sys.version_info) < (3, 11):
        return "Python 3.11 or newer is needed"
    lacks = [
        name for name in ("metamath_ray", "pydantic", "yaml", "pyarrow", "ray") if find_spec(name) is None
    ]
    return f"{lacks[0]} is not installed in it" if lacks else ""


if _missing():
    sys.stderr.write(
        f"error: this is Python {sys.version.split()[0]} at {sys.executable}: {_missing()}; run `make install`, then "
        ".venv/bin/python\n"
    )
    sys.exit(2)
