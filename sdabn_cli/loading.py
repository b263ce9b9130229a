"""Load plug-ins and say how each went: ``python -m sdabn_cli.loading``, for ``inspection``.

Reads JSON from stdin, {"path": sys.path, "plugins": [[kind, name, target, distribution], …]}, and
prints a JSON line a plug-in.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from sdabn_cli import unreadable
from sdabn_cli.discovery import Plugin
from sdabn_cli.errors import SdabnError


def main() -> None:
    """Load every plug-in in turn; what they print themselves goes nowhere.

    A Ctrl-C reaches the process that waits for the answers as well, and that one ends this one. So
    it is ignored here, and a ``KeyboardInterrupt`` can only be a plug-in's own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unreadable.pass_over()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    for kind, name, target, distribution in request["plugins"]:
        print(json.dumps({"problem": _problem(Plugin(kind, name, target, distribution))}),
              file=answers, flush=True)  # fmt: skip


def _problem(plugin: Plugin) -> str:
    try:
        loaded = plugin.load()
    except SdabnError as error:
        return error.problem
    except KeyboardInterrupt as error:
        return f"does not load: it raises KeyboardInterrupt itself: {error}"
    if plugin.kind == "model":
        from sdabn_cli import catalogue  # imports pydantic, which looks for entry points itself

        return catalogue.problem_of(plugin)
    if not callable(loaded):
        return f"its entry point is a {type(loaded).__name__}, not a function or class"
    return ""


if __name__ == "__main__":
    main()
