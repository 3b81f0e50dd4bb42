"""The rows of requests that are only checked: `/health`, `/me` by each credential, first sights, and growth."""

import contextlib, shutil, time

from load import once, wrk
from machine import NotMeasured
from seed import DAY, Seed, filling, forget_uses, now
from server import make_database

KINDS = {"opaque": "opaque token", "jwt": "JWT (ES256)", "personal": "personal token", "basic": "Basic"}


def health(bench):
    with bench.serve() as server, bench.hello() as hello:
        took = bench.in_turn(
            {"ours": lambda: bench.show(server, "/health"), "bare": lambda: bench.show(hello, "/health")},
            bars={("ours", "bare"): 0.70},
        )
    bench.plot_throughput({"bare axum": took["bare"], "/health": took["ours"]})
    yield bench.ratio(
        "health",
        "`GET /health` with every layer on ÷ a bare axum hello-world",
        "≥ 0.70",
        took["ours"],
        took["bare"],
        least=0.70,
    )


def beside_health(bench, server, shown):
    """By kind, what is shown at `/me`, and the very same requests at `/health`, of which quick runs send one."""
    pairs = {}
    for kind, credentials in shown.items():
        pairs[kind] = lambda credentials=credentials: bench.show(server, "/me", **credentials)
        if kind == "jwt" or not bench.quick:
            pairs[f"{kind} health"] = lambda credentials=credentials: bench.show(server, "/health", **credentials)
    return pairs


def bars(shown, bar):
    """The same bar for each kind."""
    return {(kind, f"{kind} health"): bar for kind in shown}


def by_kind(bench, row, took, what, least):
    """A figure for each kind that was shown."""
    for kind in (kind for kind in KINDS if kind in took):
        health = took.get(f"{kind} health") or took["jwt health"]
        yield bench.ratio(row, what(kind), f"≥ {least:.2f}", took[kind], health, least=least)


def me(bench):
    base = bench.base()
    shown = {kind: {"header": base.credentials[kind][0]} for kind in KINDS}
    with bench.serve(base.folder) as server:
        bench.show_once(server, [credential["header"] for credential in shown.values()])
        took = bench.in_turn(beside_health(bench, server, shown), bars=bars(shown, 0.90))
    bench.plot_throughput({f"/me, {name}": took[kind] for kind, name in KINDS.items()})
    yield from by_kind(bench, "me", took, lambda kind: f"`GET /me` by {KINDS[kind]}, warm ÷ `/health`", 0.90)


def many(bench):
    """A server for each kind, which has seen 10,000 credentials and no others."""
    base, pairs, counts = bench.base(), {}, {}
    with contextlib.ExitStack() as running:
        for kind in KINDS:
            server = running.enter_context(bench.serve(bench.copy_of_base()))
            # Without a cache every Basic request is a hash, and showing them once beforehand would change nothing.
            is_slow = kind == "basic" and (bench.quick or not bench.can.credential_cache)
            headers = base.credentials[kind][: 300 if is_slow else 10_000]
            counts[kind] = len(headers)
            if kind != "basic" or bench.can.credential_cache:
                bench.show_once(server, headers)
            pairs |= beside_health(bench, server, {kind: {"file": bench.credentials_file(headers)}})
        # That they were used is written down within five seconds: it is part of their first sight.
        time.sleep(6)
        took = bench.in_turn(pairs, bars=bars(counts, 0.90))
    yield from by_kind(
        bench,
        "many",
        took,
        lambda kind: f"`GET /me` by {counts[kind]:,} in turn, {KINDS[kind]}, warm ÷ `/health`",
        0.90,
    )


def cold(bench):
    """Each run has a server that was just started and has seen none of the credentials."""
    base, pairs = bench.base(), {}
    # Full runs go past the moment, five seconds after the start, when the first last uses are written down.
    seconds = 1 if bench.quick else 6

    def run(path, file):
        forget_uses(base.database)
        with bench.serve(base.folder) as server:
            took = wrk(server.url + path, seconds, script="credentials", file=file)
            return (once(took) if path == "/me" else took)["per_second"]

    for kind in ("opaque", "jwt", "personal"):
        file = bench.credentials_file(base.credentials[kind])
        pairs[kind] = lambda file=file: run("/me", file)
        if kind == "jwt" or not bench.quick:
            pairs[f"{kind} health"] = lambda file=file: run("/health", file)
    took = bench.in_turn(pairs, bench.few_rounds)
    bench.plot_throughput({f"/me, {name}, first sight": took[kind] for kind, name in KINDS.items() if kind in took})
    yield from by_kind(
        bench, "cold", took, lambda kind: f"`GET /me` by {KINDS[kind]}, first sight of each ÷ `/health`", 0.20
    )


def growth(bench):
    sizes = [1_000, 1_000_000] if bench.quick else [1_000, 10_000, 100_000, 1_000_000, 10_000_000]
    needed = 600 * sum(sizes)
    if shutil.disk_usage(bench.folder).free < needed:
        raise NotMeasured(f"it takes {needed / 1e9:.0f} GB of free disk")
    with contextlib.ExitStack() as running:
        pairs = {size: cold_checks(bench, size, running) for size in sizes}
        took = bench.in_turn(pairs, bars={(sizes[-1], 1_000): 1.5})
    bench.curves["growth"] = {str(size): took[size] for size in sizes}
    what = f"time of a cold check at {sizes[-1]:,} live tokens ÷ at 1,000"
    yield bench.ratio("growth", what, "≤ 1.5", took[sizes[-1]], took[1_000], most=1.5, show="{:.1f} µs".format)


def cold_checks(bench, size, running):
    """A server with so many live tokens, and how to measure the microseconds of a check there."""
    running.callback(shutil.rmtree, folder := bench.new_folder())
    with filling(make_database(bench.can.program, folder), "users", "sessions") as database:
        seed = Seed(database)
        seed.users(max(100, size // 10))
        # Seen a moment ago, so that nothing of last uses is to be written: that is in the row of first sights.
        tokens = seed.sessions(size, min(size, 100_000), last_seen_at=now() + DAY)
    seed.chance.shuffle(tokens)
    server = running.enter_context(bench.serve(folder, settings=bench.can.without_cache()))
    file = bench.credentials_file(f"Bearer {token}" for token in tokens)
    # What the first run reads from the disk is in memory for those that count.
    bench.show(server, "/me", file=file, seconds=1)
    return lambda: 1e6 / bench.show(server, "/me", file=file)
