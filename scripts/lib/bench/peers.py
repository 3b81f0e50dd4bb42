"""Others on the same machine with the same work: PocketBase, and a Flask app like those that most begin with.

Neither does what Countersign does: PocketBase cannot revoke a single token, and the Flask app has no database. Each
runs as its own documentation says to run it for real.
"""

import contextlib, json, os, sys, urllib.request
from functools import partial
from pathlib import Path
from statistics import median

from data import PASSWORD, basic
from load import request, wrk
from machine import TOOLS, Process, run
from rounds import Ratio, in_turn, per_second

COMMANDS = Path(sys.executable).parent
JSON = {"content-type": "application/json"}
WORK = {"opaque token": "check of an opaque token", "JWT (ES256)": "check of a JWT",
        "Basic": "check of username and password", "login": "login"}


def peers(bench):
    wanted = Path(__file__).with_name("peers.txt")
    run([sys.executable, *"-m pip install --quiet --disable-pip-version-check -r".split(), wanted])

    def check(server, path, header):
        # In five seconds the slowest of them answers more than once with a hash each time.
        return wrk(server.url + path, 5, {"Authorization": header})["per_second"]

    def log_in(server, path, body):
        requests = [request("POST", path, JSON, json.dumps(body))]
        return bench.load(server, requests, clients=16, seconds=2 if bench.quick else 5)["per_second"]

    sides = {}
    with contextlib.ExitStack() as running:
        for name, begin in {"Countersign": countersign, "PocketBase": pocketbase, "Flask": flask}.items():
            server, checks, login = begin(bench, running)
            sides |= {(name, kind): partial(check, server, *how) for kind, how in checks.items()}
            sides[name, "login"] = partial(log_in, server, *login)
        took = in_turn(sides, [], bench.few, bench.few)
    for kind, work in WORK.items():
        rates = {side: median(took[side]) for side in took if side[1] == kind}
        ours, *others = rates
        figure = Ratio(f"{work} ÷ the best of the others", "", ours, max(others, key=rates.get)).figure(took, str)
        figure.detail = ", ".join(f"{name} {per_second(rate)}" for (name, _), rate in rates.items())
        yield figure


def post(server, path, body, **headers):
    asked = urllib.request.Request(server.url + path, json.dumps(body).encode(), JSON | headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


def countersign(bench, running):
    # The last credentials are not of the user who logs in so often that earlier sessions end.
    checks = {kind: ("/me", headers[-1]) for kind, headers in bench.credentials.items() if kind in WORK}
    server = running.enter_context(bench.serve(bench.copy_of_base()))
    return server, checks, ("/login", {"username": "user0", "password": PASSWORD})


def pocketbase(bench, running):
    folder, program, admin, address = bench.new_folder(), COMMANDS / "pocketbase", "root@example.com", "127.0.0.2:8090"
    run([program, "superuser", "upsert", admin, PASSWORD, "--dir", folder])
    command = [program, "serve", "--http", address, "--dir", folder]
    server = running.enter_context(Process(command, folder))
    server.address, server.url = address, f"http://{address}"
    server.wait_until(lambda: server.answers("/api/health"))
    log_in, users = "/api/collections/{}/auth-with-password".format, "/api/collections/users/records"
    token = post(server, log_in("_superusers"), {"identity": admin, "password": PASSWORD})["token"]
    user = {"email": "sergio@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
    post(server, users, user, authorization=token)
    login = log_in("users"), {"identity": user["email"], "password": PASSWORD}
    known = post(server, *login)
    return server, {"JWT (ES256)": (f"{users}/{known['record']['id']}", known["token"])}, login


def flask(bench, running):
    # Threads keep connections open, which is faster here than the plain workers.
    how = f"--workers {os.cpu_count()} --worker-class gthread --threads 16 --bind 127.0.0.1:0"
    command = [COMMANDS / "gunicorn", *how.split(), "--chdir", TOOLS, "flask_app:app"]
    server = running.enter_context(Process(command, bench.new_folder(), PYTHONDONTWRITEBYTECODE="1")).listening()
    login = "/login", {"username": "sergio", "password": PASSWORD}
    headers = {"opaque token": "Bearer 20f876eb-15be-4640-a308-82467d1d331a", "Basic": basic("sergio"),
               "JWT (ES256)": f"Bearer {post(server, *login)['token']}"}
    return server, {kind: ("/me", header) for kind, header in headers.items()}, login
