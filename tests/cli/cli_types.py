"""What the fixtures of these tests are, for annotations."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]
