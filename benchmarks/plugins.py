"""How long sdabn takes to answer beside many installed plug-ins.

Makes distributions with plug-ins of every kind in a temporary directory, puts it on the path and
times `sdabn --help` and `sdabn plugins list` in new processes, alternating with the same commands
without them.

Run:  python benchmarks/plugins.py [--plugins 100] [--repeats 10]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("segmenters", "denoisers", "noises", "datasets")
COMMANDS = {"sdabn --help": ["--help"], "sdabn plugins list": ["plugins", "list", "--json"]}
MODULE = "raise RuntimeError('a plug-in was imported')\n"


def main() -> None:
    """Time every command with and without the plug-ins and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plugins", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.plugins):
            install(Path(folder), number)
        heading = f"{arguments.plugins} more"
        say(f"{'command':22} {'alone':>8} {heading:>10} {'ratio':>6}  seconds")
        for name, command in COMMANDS.items():
            alone, beside = [], []
            for _ in range(arguments.repeats):
                alone.append(seconds(command, ""))
                beside.append(seconds(command, folder))
            first, second = statistics.median(alone), statistics.median(beside)
            say(f"{name:22} {first:8.3f} {second:10.3f} {second / first:6.2f}")


def say(line: str) -> None:
    """Print a line of the table at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def install(folder: Path, number: int) -> None:
    """Write one distribution with one plug-in, as pip does."""
    info = folder / f"sdabn_bench_{number}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: sdabn-bench-{number}\nVersion: 1.0\nRequires-Dist: sdabn\n"
    )
    kind = KINDS[number % len(KINDS)]
    entry = f"bench-{number} = sdabn_bench_{number}:build"
    (info / "entry_points.txt").write_text(f"[sdabn.{kind}]\n{entry}\n")
    (folder / f"sdabn_bench_{number}.py").write_text(MODULE)


def seconds(command: list[str], path: str) -> float:
    """Wall time of a command in a new process."""
    environment = os.environ | {"PYTHONPATH": path}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "sdabn_cli", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
