"""Others on the same machine and the same work: PocketBase, and a Flask app such as most begin with.

Neither does what Countersign does (PocketBase has no revocation of a single token, the Flask app no database), and each
is run as its own documentation says to run it for real.
"""

import contextlib, json, os, statistics, subprocess, sys, urllib.error, urllib.request

from bench import Figure, rate
from load import wrk, write_requests
from machine import Failed, Process, free_port
from server import PASSWORD, basic

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = {
    "opaque": "check of an opaque token",
    "jwt": "check of a JWT",
    "basic": "check of username and password",
    "login": "login",
}


# In which the slowest of them answers more than once with a hash each time.
SECONDS = 3


def peers(bench):
    tools = install(bench)
    with contextlib.ExitStack() as running:
        sides = {}
        for name, begin in (("Countersign", countersign), ("PocketBase", pocketbase), ("Flask", flask)):
            server, checks, login = begin(bench, tools)
            running.enter_context(server)
            for kind, (path, header) in checks.items():
                sides[name, kind] = lambda server=server, path=path, header=header: wrk(
                    server.url + path, SECONDS, header
                )["per_second"]
            sides[name, "login"] = lambda server=server, login=login, name=name: logins(bench, name, server, login)
        took = bench.in_turn(sides, bench.few_rounds)
    for kind, work in WORK.items():
        yield figure(work, {name: took[name, kind] for name, of in took if of == kind})


def figure(work, took):
    """How many times as much Countersign does as the better of the others."""
    best = max(statistics.median(rounds) for name, rounds in took.items() if name != "Countersign")
    ratios = [ours / best for ours in took["Countersign"]]
    detail = ", ".join(f"{name} {rate(statistics.median(rounds))}" for name, rounds in took.items())
    return Figure(
        "peers",
        f"{work} ÷ the best of the others",
        "",
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        detail=detail,
    )


def logins(bench, name, server, request):
    file = os.path.join(bench.folder, f"login-{name}")
    write_requests(file, [request])
    took = bench.load.run(server.port, file, clients=16, seconds=2 if bench.quick else 5)
    return took["sent"] / took["seconds"]


def install(bench):
    """Their programs, kept with what else was built. Gives the folder of the commands."""
    venv = os.path.join(os.path.dirname(os.path.dirname(bench.programs["countersign"])), "tools", "peers")
    commands, wanted = os.path.join(venv, "bin"), os.path.join(HERE, "peers.txt")
    with open(wanted) as lines, contextlib.suppress(OSError), open(os.path.join(venv, "made-for")) as made_for:
        if made_for.read() == lines.read():
            return commands
    for command in (
        [sys.executable, "-m", "venv", "--clear", venv],
        [os.path.join(commands, "pip"), "install", "--quiet", "--disable-pip-version-check", "-r", wanted],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"they cannot be installed: {done.stderr.strip()[-300:]}")
    with open(wanted) as lines, open(os.path.join(venv, "made-for"), "w") as made_for:
        made_for.write(lines.read())
    return commands


def post(url, body, token=None):
    headers = {"content-type": "application/json"} | ({"authorization": token} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except OSError as error:
        raise Failed(f"{url}: {error}") from error


def json_request(path, body):
    return "POST", path, {"content-type": "application/json"}, json.dumps(body)


def countersign(bench, _):
    server, credentials = bench.serve(bench.copy_of_base()), bench.base().credentials
    # Not of the one who logs in so often that earlier sessions end.
    checks = {kind: ("/me", credentials[kind][-1]) for kind in ("opaque", "jwt", "basic")}
    return server, checks, json_request("/login", {"username": "user0", "password": PASSWORD})


def pocketbase(bench, tools):
    folder, port = bench.new_folder(), free_port()
    program, admin = os.path.join(tools, "pocketbase"), ("root@example.com", PASSWORD)
    os.makedirs(folder)
    made = subprocess.run([program, "superuser", "upsert", *admin, "--dir", folder], capture_output=True, text=True)
    if made.returncode:
        raise Failed(f"PocketBase: {made.stderr.strip()[-300:]}")
    server = serve([program, "serve", "--http", f"127.0.0.1:{port}", "--dir", folder], folder, port, "/api/health")
    collections = f"{server.url}/api/collections"
    by = post(f"{collections}/_superusers/auth-with-password", {"identity": admin[0], "password": admin[1]})["token"]
    user = {"email": "sergio@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
    post(f"{collections}/users/records", user, by)
    login = {"identity": user["email"], "password": PASSWORD}
    path = "/api/collections/users/auth-with-password"
    known = post(server.url + path, login)
    return (
        server,
        {"jwt": (f"/api/collections/users/records/{known['record']['id']}", known["token"])},
        json_request(path, login),
    )


def flask(bench, tools):
    folder, port = bench.new_folder(), free_port()
    os.makedirs(folder)
    # Threads keep connections alive, which is faster here than the plain workers are.
    server = serve(
        [
            os.path.join(tools, "gunicorn"),
            "--workers",
            str(os.cpu_count()),
            "--worker-class",
            "gthread",
            "--threads",
            "16",
            "--bind",
            f"127.0.0.1:{port}",
            "--chdir",
            HERE,
            "flask_app:app",
        ],
        folder,
        port,
        "/",
    )
    login = {"username": "sergio", "password": PASSWORD}
    jwt = post(server.url + "/login", login)["token"]
    checks = {
        "opaque": ("/me", "Bearer 20f876eb-15be-4640-a308-82467d1d331a"),
        "jwt": ("/me", f"Bearer {jwt}"),
        "basic": ("/me", basic("sergio")),
    }
    return server, checks, json_request("/login", login)


def serve(command, folder, port, path):
    """Starts a server and waits until it answers."""
    server = Process(command, folder, {})
    server.port, server.url = port, f"http://127.0.0.1:{port}"
    server.wait_until(lambda: answers(server.url + path))
    return server


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
