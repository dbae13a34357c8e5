"""A trial of the whole stack under load and faults: ``python -m tests.chaos --minutes 10``.

Starts a stack in front of a scripted engine, runs mixed load, kills and pauses its processes at random, waits
for calm, and compares what the clients saw with the records. Exits with 1 after any fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.chaos.kills import PROGRAMS
from tests.chaos.trial import Trial


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--concurrency", type=int, default=12, help="clients at once")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two requests of a client")
    parser.add_argument("--faults", type=int, default=19, help="number of kills and pauses")
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="the programs to kill")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    trial = Trial(
        seconds=options.minutes * 60,
        concurrency=options.concurrency,
        pause_s=options.pause,
        faults=options.faults,
        programs=options.programs.split(","),
        seed=options.seed,
    )
    result = trial.run()
    print(result.report())
    return 0 if result.is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
