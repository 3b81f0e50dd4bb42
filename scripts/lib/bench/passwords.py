"""The rows of passwords: logins a second, and what a storm of them does to everyone else."""

import json, os, statistics, time

from bench import rate
from load import wrk, write_requests
from machine import Failed
from server import PASSWORD

CLIENTS = 64


def login_requests(bench, users=2_000):
    """A login of each of these users."""
    requests = os.path.join(bench.folder, "logins")
    write_requests(
        requests,
        (
            (
                "POST",
                "/login",
                {"content-type": "application/json"},
                json.dumps({"username": f"user{i}", "password": PASSWORD}),
            )
            for i in range(users)
        ),
    )
    return requests


def login(bench):
    requests, cores = login_requests(bench), os.cpu_count()
    seconds = 1 if bench.quick else 5
    with bench.serve(bench.copy_of_base()) as server:

        def logins():
            took = bench.load.run(server.port, requests, clients=16, seconds=seconds)
            return took["sent"] / took["seconds"]

        sides = {"logins": logins, "possible": lambda: cores / bench.argon2id_seconds()}
        took = bench.in_turn(sides, bench.few_rounds, bars={("logins", "possible"): 0.90})
    # The cores share the way to memory, so that hashes on all of them at once are slower each: no server can do more.
    most = cores / bench.argon2id_seconds(at_once=cores) / statistics.median(took["possible"])
    bench.plot_throughput({"/login": took["logins"]})
    figure = bench.ratio(
        "login",
        f"logins a second ÷ ({cores} cores ÷ the time of one argon2id)",
        "≥ 0.90",
        took["logins"],
        took["possible"],
        least=0.90,
    )
    figure.detail += f"; nothing but hashes on every core would give {most:.2f}"
    yield figure


def storm(bench):
    requests, seconds = login_requests(bench), 2 if bench.quick else 8
    offered = 10 * os.cpu_count() / bench.argon2id_seconds()
    # Of a user who is not among those that log in.
    header = bench.base().credentials["opaque"][-1]
    with bench.serve(bench.copy_of_base()) as server:

        def calm():
            return wrk(server.url + "/me", seconds, header)

        def stormy():
            # The storm begins a little before the checks that are measured, and ends after them.
            logins = bench.load.start(server.port, requests, CLIENTS, seconds + 1, offered)
            time.sleep(0.5)
            try:
                checks = wrk(server.url + "/me", seconds, header)
            finally:
                answers = bench.load.finish(logins, allowed=("200", "503"))
            return checks, answers

        took = bench.in_turn({"calm": calm, "stormy": stormy}, bench.few_rounds)
    yield storm_checks(bench, took["calm"], [checks for checks, _ in took["stormy"]])
    yield from storm_surplus(bench, [answers for _, answers in took["stormy"]], offered)


def storm_checks(bench, calm, stormy):
    p99 = {name: [run["p99"] / 1e3 for run in runs] for name, runs in (("calm", calm), ("stormy", stormy))}
    bench.curves["storm"] = {
        name: {
            point: statistics.median(run[point] / 1e3 for run in runs)
            for point in ("p50", "p90", "p99", "p99.9", "most")
        }
        for name, runs in (("without logins", calm), ("in the storm", stormy))
    }
    figure = bench.ratio(
        "storm",
        "p99 of token checks, logins offered at ten times what the hashes allow ÷ without",
        "≤ 3, or p99 < 5 ms",
        p99["stormy"],
        p99["calm"],
        most=3,
        show=lambda ms: f"{ms:.2f} ms",
    )
    figure.met = figure.met or statistics.median(p99["stormy"]) < 5
    figure.detail += f"; checks {rate(statistics.median(run['per_second'] for run in stormy))}, none failed"
    return figure


def storm_surplus(bench, runs, offered):
    """Of the logins that were too many: what they were told, and how soon."""
    shares, silent, slow = [], 0, []
    for run in runs:
        surplus = run["answers"].get("503")
        if not surplus:
            raise Failed(f"of {run['sent']} logins none was refused, though {rate(offered)} were offered")
        shares.append(surplus["count"] / run["sent"])
        silent += surplus["without_retry_after"]
        slow.append(surplus["ms"]["99"])
    done = statistics.median(run["answers"].get("200", {"count": 0})["count"] / run["seconds"] for run in runs)
    figure = bench.figure(
        "storm", "time to the 503 of a login too many, p99", "< 50 ms, with Retry-After", slow, " ms", most=50
    )
    figure.met = figure.met and not silent
    figure.detail = (
        f"{rate(offered)} offered, {rate(done)} logged in, {statistics.median(shares):.0%} told 503, "
        f"{'each' if not silent else f'all but {silent}'} with Retry-After"
    )
    yield figure
