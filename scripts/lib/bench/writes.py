"""The row of durable writes: `/refresh?rotate=true` by 64 clients, with shared commits and with one a request."""

import contextlib, statistics

from bench import Figure, rate
from load import wrk

CLIENTS = 64
# More than there are clients, since wrk asks for one more to see what requests look like.
TOKENS = CLIENTS + 8
SLOWER_US = 2_000


def writes(bench):
    yield from measure(bench, slow_disk=False, least=2)
    yield from measure(bench, slow_disk=True, least=10)


def measure(bench, slow_disk, least):
    # Each token is good for one run: after it, its successor is in wrk's memory.
    tokens = iter(bench.base().credentials["opaque"])
    fastest = []

    def run(server):
        file = bench.credentials_file(next(tokens).removeprefix("Bearer ") for _ in range(TOKENS))
        took = wrk(server.url + "/refresh?rotate=true", bench.seconds, script="rotate", file=file, connections=CLIENTS)
        fastest.append(took["least"])
        return took["per_second"]

    what = f"durable writes a second, {CLIENTS} clients ÷ one commit a request"
    what += ", fdatasync 2 ms slower" if slow_disk else ""
    flags = {"shared": []} | ({"single": ["--group-commit-off"]} if bench.can.group_commit_off else {})
    with contextlib.ExitStack() as running:
        sides = {}
        for name, more in flags.items():
            server = running.enter_context(bench.serve(bench.copy_of_base(), flags=more, slow_disk=slow_disk))
            sides[name] = lambda server=server: run(server)
        took = bench.in_turn(sides)
    early = f"; the fastest answer took {min(fastest) / 1e3:.1f} ms" if slow_disk else ""
    if "single" not in took:
        absolute = rate(statistics.median(took["shared"]))
        yield Figure(
            "writes",
            what,
            f"≥ {least}",
            detail=f"this build has no --group-commit-off to compare with; {absolute} as it is{early}",
        )
        return
    figure = bench.ratio("writes", what, f"≥ {least}", took["shared"], took["single"], least=least)
    figure.met = figure.met and (not slow_disk or min(fastest) >= SLOWER_US)
    figure.detail += early
    yield figure
