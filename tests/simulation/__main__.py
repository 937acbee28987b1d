"""`python -m tests.simulation`: what `make simulate` and `make mutants` run."""

import argparse
import sys

from tests.simulation.mutants import MUTANTS
from tests.simulation.runner import default_jobs, show_many, show_mutants, show_one


def main() -> int:
    """Reads the command line; the exit status is 0 when nothing was found that should not be."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one seed and print its trace")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="with --seed: break the protocol first")
    parser.add_argument("--mutants", action="store_true", help="check that every mutant is caught")
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="processes to run in")
    options = parser.parse_args()
    if options.mutants:
        found = show_mutants(options.seeds, options.jobs)
    elif options.seed is not None:
        found = show_one(options.seed, options.mutant)
    else:
        found = show_many(options.first, options.seeds, options.jobs)
    return min(1, found)


if __name__ == "__main__":
    sys.exit(main())
