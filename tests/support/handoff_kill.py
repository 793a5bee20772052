"""The command ``onecard``, killed at a step of it: ``python -m tests.support.handoff_kill STEP COUNT …``.

The wrapper of one method below is the only test-only code in it: a step is ``CLASS.METHOD:SIDE``, and
the process ends before or after the method's n-th call.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from connector.cli.main import cli
from connector.cli.pin_file import PinFile
from connector.cli.private_file import PrivateFile
from connector.cli.slip_folder import SlipFolder
from connector.storage.repositories.activations import StoredActivations

__all__ = ["kill_at"]

_CLASSES = {each.__name__: each for each in (PinFile, PrivateFile, SlipFolder, StoredActivations)}


def kill_at(step: str, count: int) -> None:
    """Let this process die at a step."""
    where, side = step.split(":")
    owner, method = where.split(".")
    real, left = getattr(_CLASSES[owner], method), [count]

    def call(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **more)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(_CLASSES[owner], method, call)


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    cli(sys.argv[3:])
