"""Measures what docs/benchmarks.md shows. See scripts/bench."""

import argparse, collections, signal, sys, tempfile, time, traceback
from pathlib import Path

import report
from bench import Bench
from machine import REPOSITORY, Failed, build, describe
from rounds import Figure
from rows import ROWS


def measure(bench, row):
    """Yields the figures of a row. If something goes wrong, the last of them says what."""
    try:
        yield from ROWS[row](bench)
    except Exception as error:
        if not isinstance(error, Failed):
            traceback.print_exc()
        yield Figure(row, detail=str(error) or repr(error))


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures how fast Countersign is.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds on smaller data; writes no page")
    parser.add_argument("--peers", action="store_true", help="also PocketBase and a Flask app on the same work")
    chosen = parser.parse_args()
    rows = (chosen.rows or list(ROWS)[:-1]) + ["peers"] * chosen.peers
    if unknown := set(rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(unknown)}")
    # A signal ends the bench like an error: every process that it runs is stopped on the way out.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    programs, machine, begun = build(), describe(), time.monotonic()
    print(*(f"{name}: {what}" for name, what in machine.items()), "", sep="\n")
    figures = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="countersign-bench.") as folder:
        bench = Bench(programs, Path(folder), chosen.quick)
        for row in dict.fromkeys(rows):
            for figure in measure(bench, row):
                figures[row].append(figure)
                report.show(row, figure)
    verdicts = collections.Counter(report.words(figure)[0] for row in figures.values() for figure in row)
    print(f"\n{', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}", end="; ")
    print(f"it took {(time.monotonic() - begun) / 60:.1f} minutes.")
    if chosen.quick:
        print("These are quick figures; docs/benchmarks.md was left as it is.")
    else:
        report.write(REPOSITORY / "docs", machine, figures, bench.curves, ROWS)
        print("docs/benchmarks.md was written.")
    return "FAILED" in verdicts


if __name__ == "__main__":
    sys.exit(main())
