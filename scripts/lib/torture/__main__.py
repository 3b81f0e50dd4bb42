"""See scripts/torture."""

import datetime
import pathlib
import subprocess
import sys
import time

from clients import Clients
from faults import POSTGRES, SQLITE, kill
from server import Postgres, Server, Sqlite

# Writes that are acknowledged before each fault of a run; before those that take no time, fewer, so that there are more of them.
BETWEEN, BETWEEN_KILLS = 150, 40
# The rounds of a batch, after which every token is shown again; a quick run has one short batch.
ROUNDS, QUICK_ROUNDS, QUICK_BETWEEN = 5, 2, 40
PAGE = pathlib.Path("docs/reliability.md")
MARKS = "<!-- scripts/torture writes what follows -->\n", "<!-- up to here -->\n"
HEADER = ["fault", "store", "rounds", "acknowledged", "lost", "revived", "false 401", "whole again after, at most", "clients saw"]


def whole_again(server):
    """How long it takes until the server is ready. Raises when it takes more than a minute."""
    begun = time.monotonic()
    while server.ready() != 200:
        if time.monotonic() - begun > 60:
            raise RuntimeError("the server does not come back")
        time.sleep(0.01)
    return time.monotonic() - begun


def torture(binary, name, fault, store, quick):
    least = 1 if quick else 10_000
    batch, between = (QUICK_ROUNDS, QUICK_BETWEEN) if quick else (ROUNDS, BETWEEN_KILLS if fault is kill else BETWEEN)
    with Server(binary, store.url, store.folder) as server:
        return [f"{name}: {fault.__doc__}", store.name, *count(fault, server, store, least, batch, between)]


def count(fault, server, store, least, batch, between):
    """The rest of a row, after as many rounds as it takes."""
    rounds, longest, acknowledged, lost, revived, wrong, seen = 0, 0.0, 0, 0, 0, 0, {}
    # Tokens are audited as they come, so that no run is long and no session too old.
    while acknowledged < least:
        with Clients(server) as clients:
            for _ in range(batch):
                goal = clients.acknowledged + between
                deadline = time.monotonic() + 60
                while clients.acknowledged < goal and time.monotonic() < deadline:
                    time.sleep(0.005)
                fault(server, store)
                longest = max(longest, whole_again(server))
                rounds += 1
        gone, back = clients.audit()
        acknowledged, lost, revived = acknowledged + clients.acknowledged, lost + gone, revived + back
        wrong += clients.wrong
        for status, times in clients.seen.items():
            seen[status] = seen.get(status, 0) + times
    answers = ", ".join(f"{times:,} × {status}" for status, times in sorted(seen.items(), key=str))
    return [str(rounds), f"{acknowledged:,}", str(lost), str(revived), str(wrong), f"{longest:.1f} s", answers]


def table(rows):
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_page(rows):
    """Replaces the table in the page."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    before, rest = PAGE.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    text = f"At {commit or 'an unknown commit'}, on {datetime.date.today()}:\n\n{table(rows)}"
    PAGE.write_text(before + MARKS[0] + text + MARKS[1] + after)


def main(binary, *words):
    quick = "--quick" in words
    wanted = [word for word in words if word != "--quick"]
    faults = {**{name: (fault, Sqlite) for name, fault in SQLITE.items()}, **{name: (fault, Postgres) for name, fault in POSTGRES.items()}}
    if unknown := set(wanted) - set(faults):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are: {' '.join(faults)}")
    rows, failed = [], False
    for name in wanted or faults:
        fault, make_store = faults[name]
        store = make_store()
        try:
            row = torture(pathlib.Path(binary).resolve(), name, fault, store, quick)
        finally:
            store.close()
        failed |= row[4:7] != ["0", "0", "0"]
        rows.append(row)
        print(" | ".join(row), flush=True)
    if not wanted and not quick:
        write_page(rows)
    sys.exit(failed)


main(*sys.argv[1:])
