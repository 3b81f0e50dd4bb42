"""Measures what docs/benchmarks.md shows. See scripts/bench."""

import argparse, os, sys, time, traceback

import checks, passwords, peers, report, size, writes
from bench import Bench, Figure
from build import build
from machine import Failed, NotMeasured, describe, stop_all, workplace

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
ROWS = {
    "health": checks.health,
    "me": checks.me,
    "many": checks.many,
    "cold": checks.cold,
    "growth": checks.growth,
    "login": passwords.login,
    "storm": passwords.storm,
    "writes": writes.writes,
    "import": size.importing,
    "start": size.start,
    "memory": size.memory,
    "peers": peers.peers,
}


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures how fast Countersign is.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, smaller data; writes no page")
    parser.add_argument("--peers", action="store_true", help="also PocketBase and a Flask app on the same work")
    chosen = parser.parse_args()
    if unknown := set(chosen.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    chosen.rows = chosen.rows or [row for row in ROWS if row != "peers"]
    if chosen.peers and "peers" not in chosen.rows:
        chosen.rows.append("peers")
    return chosen


def measure(bench, row):
    """The figures of a row; when there are none, why."""
    figures = []

    def note(figure):
        figures.append(figure)
        print(report.line(figure), flush=True)

    try:
        for figure in ROWS[row](bench):
            note(figure)
    except (NotMeasured, Failed) as reason:
        note(Figure(row, row, "", detail=str(reason), failed=isinstance(reason, Failed)))
    except Exception as error:
        traceback.print_exc()
        note(Figure(row, row, "", detail=repr(error), failed=True))
    # Those of a row that failed.
    stop_all()
    return figures


def main():
    chosen = arguments()
    # What is set for a server of one's own has no part in this.
    for name in [
        name for name in os.environ if name.startswith("COUNTERSIGN_") or name in ("DATABASE_URL", "RUST_LOG")
    ]:
        del os.environ[name]
    programs = build(REPOSITORY)
    machine, begun = describe(REPOSITORY), time.monotonic()
    bench = Bench(programs, workplace(), chosen.quick)
    for name, what in machine.items():
        print(f"{name}: {what}")
    print(report.heading(chosen.quick), flush=True)
    figures = [figure for row in chosen.rows for figure in measure(bench, row)]
    print(report.summary(figures, time.monotonic() - begun))
    if chosen.quick:
        print("These are quick figures; docs/benchmarks.md was left as it is.")
    else:
        report.write(os.path.join(REPOSITORY, "docs"), machine, figures, bench.curves, ROWS)
        print("docs/benchmarks.md was written.")
    return any(figure.failed for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
