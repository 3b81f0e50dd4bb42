"""The rows of the table, in its order. Each is a function that yields figures."""

import contextlib, csv, itertools, os, random, shutil, sqlite3, sys, time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import data
from bench import SLOW_DISK
from load import request, wrk
from machine import Failed, Process, run
from peers import peers
from postgres import postgres
from rounds import Figure, Ratio, per_second

MANY = 1_000_000
# What nginx adds to a request before it asks /verify, and what a browser had sent.
FROM_PROXY = {
    "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": "app.example.com", "X-Forwarded-Proto": "https",
    "X-Forwarded-Uri": "/reports?page=2", "X-Original-URI": "/reports?page=2", "X-Original-Method": "GET",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Cookie": "theme=dark; session=3f9a1c5e7b2d4f6a8c0e1b3d5f7a9c2e",
}


def health(bench):
    with bench.serve() as server, Process([bench.programs["hello"]], bench.folder).listening() as hello:
        sides = {"bare axum": partial(bench.ask, hello, "/health"), "/health": partial(bench.ask, server, "/health")}
        ratio = Ratio("`GET /health` with every layer on ÷ a bare axum hello-world", "≥ 0.70", "/health", "bare axum")
        yield from bench.compare(sides, [ratio], plot=sides)


def beside_health(bench, path, asks, what, bar, suffix="", few=False):
    """For each kind of credential: `path` asked with it ÷ `/health` asked with the very same headers."""
    sides, ratios = {}, []
    for kind, ask in asks.items():
        top, bottom = f"{path}, {kind}{suffix}", f"/health, {kind}{suffix}"
        sides |= {top: partial(ask, path), bottom: partial(ask, "/health")}
        ratios.append(Ratio(what.format(kind), bar, top, bottom))
    return bench.compare(sides, ratios, few, plot=[ratio.top for ratio in ratios])


def warm(bench, path, what, headers):
    """One credential of each kind, which was shown before."""
    with bench.serve(bench.base) as server:
        shown = {kind: credentials[0] for kind, credentials in bench.credentials.items()}
        bench.show_once(server, shown.values())
        asks = {kind: partial(bench.ask, server, headers={"Authorization": shown[kind], **headers}) for kind in shown}
        if path == "/verify":
            # A browser that has signed in: its other cookies come first.
            token = shown["opaque token"].removeprefix("Bearer ")
            cookies = f"{headers['Cookie']}; countersign={token}"
            asks["a browser's cookie"] = partial(bench.ask, server, headers={**headers, "Cookie": cookies})
        yield from beside_health(bench, path, asks, what, "≥ 0.85")


def many(bench):
    """Each kind has a server of its own, which has seen 10,000 credentials and no others."""
    asks = {}
    with contextlib.ExitStack() as running:
        for kind, headers in bench.credentials.items():
            server = running.enter_context(bench.serve(bench.copy_of_base()))
            headers = headers[: 300 if kind == "Basic" and bench.quick else 10_000]
            bench.show_once(server, headers)
            asks[kind] = partial(bench.ask, server, lines=headers)
        # Within five seconds their last use is written down, which is part of the first sight.
        time.sleep(6)
        what = "`GET /me` by 10,000 in turn, {}, warm ÷ `/health`"
        yield from beside_health(bench, "/me", asks, what, "≥ 0.90", ", 10,000 in turn")


def cold(bench):
    """Each round has a server that was just started and has seen none of the credentials."""
    # Full runs go past the moment, five seconds after the start, when the first last uses are written down.
    seconds = 1 if bench.quick else 6

    def ask(lines, path):
        data.forget_uses(bench.base / "countersign.db")
        with bench.serve(bench.base) as server:
            took = wrk(server.url + path, seconds, lines=lines)
        if path == "/me" and took["unused"] < 0:
            raise Failed(f"{len(lines)} credentials were not enough for one run")
        return took["per_second"]

    asks = {kind: partial(ask, lines) for kind, lines in bench.credentials.items() if kind != "Basic"}
    what = "`GET /me` by {}, first sight of each ÷ `/health`"
    yield from beside_health(bench, "/me", asks, what, "≥ 0.20", ", first sight", few=True)


def growth(bench):
    sizes = [1_000, MANY] if bench.quick else [1_000, 10_000, 100_000, MANY, 10 * MANY]
    if shutil.disk_usage(bench.folder).free < 600 * sum(sizes):
        raise Failed(f"it takes {600 * sum(sizes) / 1e9:.0f} GB of free disk")
    sides = {}
    with contextlib.ExitStack() as running:
        for size in sizes:
            # Seen just now, so that no last uses are written. They belong to the row of first sights.
            folder = bench.new_database(users=max(100, size // 10), sessions=size, last_seen_at=data.NOW + data.DAY)
            running.callback(shutil.rmtree, folder)
            server = running.enter_context(bench.serve(folder, COUNTERSIGN_CREDENTIAL_CACHE="0"))
            lines = [f"Bearer {data.opaque(i)}" for i in random.Random(7).sample(range(size), min(size, 100_000))]
            side = partial(lambda server, lines: 1e6 / bench.ask(server, "/me", lines=lines), server, lines)
            side()  # This brings into memory what the first round would read from the disk.
            sides[f"{size:,} live tokens"] = side
        least, *_, most = sides
        ratio = Ratio(f"time of a cold check at {most} ÷ at 1,000", "≤ 1.5", most, least)
        yield from bench.compare(sides, [ratio], show="{:.1f} µs".format, plot=sides, into="growth")


def log_in(bench, server, **options):
    """Sends logins of 2,000 users, so that no limit on a single account applies."""
    header, body = {"content-type": "application/json"}, f'{{"username": "user%d", "password": "{data.PASSWORD}"}}'
    return bench.load(server, [request("POST", "/login", header, body % i) for i in range(2_000)], **options)


def login(bench):
    cores, seconds = os.cpu_count(), 1 if bench.quick else 5
    ratio = Ratio(f"logins a second ÷ ({cores} cores ÷ the time of one argon2id)", "≥ 0.90", "/login", "hashes")
    with bench.serve(bench.copy_of_base()) as server:
        sides = {"/login": lambda: log_in(bench, server, clients=16, seconds=seconds)["per_second"],
                 "hashes": lambda: cores / bench.argon2id_seconds()}
        [figure] = bench.compare(sides, [ratio], few=True, plot=["/login"])
    # Hashes on all cores share the way to memory and are slower each, so no server can reach 1.
    most = bench.argon2id_seconds() / bench.argon2id_seconds(at_once=cores)
    figure.detail += f"; nothing but hashes on every core would give {most:.2f}"
    yield figure


def storm(bench):
    """Checks of a token while far too many others log in."""
    seconds, offered = 2 if bench.quick else 8, 10 * os.cpu_count() / bench.argon2id_seconds()
    calm, stormy, logins = [], [], []
    # Of a user who is not among those that log in.
    headers = {"Authorization": bench.credentials["opaque token"][-1]}

    def check(checks):
        checks.append(wrk(server.url + "/me", seconds, headers))
        return checks[-1]["p99"] / 1e3

    def check_in_storm():
        # The logins begin before the checks and end after them.
        options = {"clients": 64, "seconds": seconds + 1, "rate": f"{offered:.1f}", "allowed": ("200", "503")}
        with ThreadPoolExecutor() as background:
            sent = background.submit(log_in, bench, server, **options)
            time.sleep(0.5)
            p99 = check(stormy)
            logins.append(sent.result())
        return p99

    what = "p99 of token checks, logins offered at ten times what the hashes allow ÷ without"
    with bench.serve(bench.copy_of_base()) as server:
        sides = {"calm": lambda: check(calm), "storm": check_in_storm}
        ratio = Ratio(what, "≤ 3, or p99 < 5 ms", "storm", "calm")
        [figure] = bench.compare(sides, [ratio], few=True, show="{:.2f} ms".format)
    bench.curves["storm"] = {
        f"{share} of checks, {name}": [run[point] / 1e3 for run in checks]
        for share, point in {"half": "p50", "90 %": "p90", "99 %": "p99", "99.9 %": "p99.9"}.items()
        for name, checks in {"without logins": calm, "in the storm": stormy}.items()}
    figure.met = figure.met or median(run["p99"] for run in stormy) < 5000
    figure.detail += f"; checks {per_second(median(run['per_second'] for run in stormy))}, none failed"
    yield figure
    refused = [run["answers"].get("503") for run in logins]
    if not all(refused):
        raise Failed(f"no login was refused, though {per_second(offered)} were offered")
    slow, silent = [each["ms"]["99"] for each in refused], sum(each["without_retry_after"] for each in refused)
    figure = Figure.of("time to the 503 of a login too many, p99", "< 50 ms, with Retry-After", slow, " ms")
    figure.met = figure.met and not silent
    share = median(each["count"] / run["sent"] for each, run in zip(refused, logins))
    done = median((run["sent"] - each["count"]) / run["seconds"] for each, run in zip(refused, logins))
    figure.detail = f"{per_second(offered)} offered, {per_second(done)} logged in, {share:.0%} told 503, "
    figure.detail += f"all but {silent} with Retry-After" if silent else "each with Retry-After"
    yield figure


def neighbours(bench):
    """Logins beside other programs that take all the processor time they can get."""
    cores, busy, seconds = os.cpu_count(), 6, 2 if bench.quick else 8
    what = f"logins a second beside {busy} busy loops ÷ a fair share of the {cores} cores"
    ratio = Ratio(what, "≥ 0.50", "/login, beside busy loops", "fair share")

    def beside_busy_loops():
        with contextlib.ExitStack() as running:
            for _ in range(busy):
                running.enter_context(Process([sys.executable, "-c", "while True: pass"], bench.folder))
            return log_in(bench, server, clients=16, seconds=seconds)["per_second"]

    with bench.serve(bench.copy_of_base()) as server:
        # As many threads hash as there are cores.
        sides = {"/login, beside busy loops": beside_busy_loops,
                 "fair share": lambda: cores / bench.argon2id_seconds() * cores / (cores + busy)}
        yield from bench.compare(sides, [ratio], few=True)


def flood(bench):
    """Logins of others while one address tries wrong passwords on a hundred connections."""
    seconds, offered = 3 if bench.quick else 10, 20
    header, guess = {"content-type": "application/json"}, '{"username": "user%d", "password": "wrong password %d"}'
    guesses = [request("POST", "/login", header, guess % (i % 2_000, i)) for i in range(20_000)]
    shares, slow, guessed = [], [], []
    with bench.serve(bench.copy_of_base()) as server:
        for _ in range(bench.few):
            with ThreadPoolExecutor() as background:
                options = {"clients": 100, "address": "127.2.0.1", "seconds": seconds + 1}
                sent = background.submit(bench.load, server, guesses, ("401", "429", "503"), **options)
                time.sleep(0.5)
                run = log_in(bench, server, clients=24, seconds=seconds, rate=offered, allowed=("200", "429", "503"))
                guessed.append(sent.result())
            done = run["answers"].get("200", {"count": 0, "ms": {"99": float("inf")}})
            shares.append(done["count"] / run["sent"])
            slow.append(done["ms"]["99"])
    counts = {status: median(run["answers"].get(status, {"count": 0})["count"] for run in guessed)
              for status in ("401", "429", "503")}
    detail = f"a round: {offered * seconds} logins, and guesses with " + ", ".join(
        f"{status} {count:,.0f}" for status, count in counts.items())
    yield Figure.of("logins from 24 addresses that succeed while one address floods", "≥ 0.95", shares, detail=detail)
    yield Figure.of("their time, p99", "≤ 1000 ms", slow, " ms")


def writes(bench):
    """Shared commits of the server ÷ the same statements with a commit each, without HTTP and signatures."""
    clients, numbers = 64, itertools.count()

    def shared(server, fastest):
        # A token is good for one round: after it only wrk knows the next. wrk takes some more than it has clients.
        tokens = [data.opaque(next(numbers)) for _ in range(clients + 8)]
        took = wrk(server.url + "/refresh?rotate=true", 1, lines=tokens, mode="rotate", connections=clients)
        fastest.append(took["least"] / 1e3)
        return took["per_second"]

    for bar, prefix, slower in (("≥ 2", [], ""), ("≥ 10", SLOW_DISK, ", fdatasync 2 ms slower")):
        what = f"durable writes a second, {clients} clients ÷ the same statements on one connection, a commit each"
        single = [*prefix, bench.programs["commits"], bench.copy_of_base() / "countersign.db", f"--sessions={clients}"]
        with bench.serve(bench.copy_of_base(), prefix) as server:
            sides = {"shared": partial(shared, server, fastest := []), "single": lambda: float(run(single))}
            [figure] = bench.compare(sides, [Ratio(what + slower, bar, "shared", "single")])
        if slower:
            # An answer that came sooner would have come before its commit was on the disk.
            figure.met = figure.met and min(fastest) >= 2
            figure.detail += f"; the fastest answer took {min(fastest):.1f} ms"
        yield figure


def on_postgres(bench):
    """A warm credential costs the database nothing, whichever it is."""
    tokens = bench.credentials["opaque token"][:10_000]
    shown = {"Authorization": tokens[0]}
    with postgres() as (folder, _), contextlib.ExitStack() as running:
        url = f"postgres:///postgres?host={folder}&user=postgres"
        source, empty = bench.copy_of_base(), bench.new_folder()
        run([bench.programs["countersign"], "copy", "--from", f"sqlite://{source}/countersign.db", "--to", url])
        key = (source / "countersign.key").read_text().strip()
        places = {"SQLite": (source, {}), "PostgreSQL": (empty, {"DATABASE_URL": url, "COUNTERSIGN_SECRET_KEY": key})}
        asked, in_turn = ({}, {}), {}
        for name, (where, settings) in places.items():
            server = running.enter_context(bench.serve(where, **settings))
            bench.show_once(server, tokens[:1])
            for path, headers, asks in zip(("/me", "/verify"), (shown, shown | FROM_PROXY), asked):
                asks[f"{path} on {name}"] = partial(bench.ask, server, path, headers)
            # A server of its own, which has seen these and no others.
            server = running.enter_context(bench.serve(where, **settings))
            bench.show_once(server, tokens)
            in_turn[f"/me by 10,000 in turn on {name}"] = partial(bench.ask, server, "/me", lines=tokens)
        time.sleep(6)  # Within five seconds their last use is written down.
        for asks, what in zip((*asked, in_turn), ("`GET /me`", "`GET /verify`", "`GET /me` by 10,000 in turn")):
            bottom, top = asks
            ratio = Ratio(f"{what}, opaque token, warm, on PostgreSQL ÷ on SQLite", "≥ 0.95", top, bottom)
            yield from bench.compare(asks, [ratio])


def importing(bench):
    def ask(folder, question):
        with contextlib.closing(sqlite3.connect(folder / "countersign.db")) as database:
            return database.execute(question).fetchone()[0]

    count, file, speeds, memories = 100_000 if bench.quick else MANY, bench.folder / "users.csv", [], []
    password_hash = ask(bench.new_database(), "SELECT password_hash FROM users")
    with file.open("w") as out:
        csv.writer(out).writerow(["username", "name", "email", "password_hash"])
        csv.writer(out).writerows(
            [f"user{i}", f"User {i}", f"user{i}@example.com", password_hash] for i in range(count))
    for _ in range(bench.few):
        folder, memory, begun = bench.new_database(), [], time.monotonic()
        with Process([bench.programs["countersign"], "import", file], folder, RUST_LOG="off") as process:
            while process.poll() is None:
                memory.append(process.resident_mb())
                time.sleep(0.05)
        speeds.append(count / (time.monotonic() - begun))
        memories.append(memory)
        if process.returncode or ask(folder, "SELECT count(*) FROM users") != count + 1:
            raise Failed(f"the import failed: {process.said()}")
    yield Figure.of(f"import of {count:,} users with hashes, rows a second", "≥ 50,000", speeds)
    # After a fifth of the way, what does not grow with the number of users is in memory.
    growths = [max(memory) - max(memory[: len(memory) // 5 + 1]) for memory in memories]
    what, peak = "its memory from a fifth of the way to the end, growth", max(map(max, memories))
    yield Figure.of(what, "≤ 16 MB", growths, " MB", f"at most {peak:.0f} MB")


def start(bench):
    count, times = 100_000 if bench.quick else MANY, []
    folder = bench.new_database(users=count)
    for _ in range(3 * bench.rounds):
        begun = time.monotonic()
        with bench.serve(folder) as server:
            server.wait_until(lambda: server.answers("/ready"))
            times.append(1e3 * (time.monotonic() - begun))
    yield Figure.of(f"start to ready, {count:,} users", "≤ 300 ms", times, " ms")


def memory(bench):
    count = 30_000 if bench.quick else 100_000
    with bench.serve(bench.base) as server:
        time.sleep(1)
        yield Figure.of("resident memory, idle", "≤ 30 MB", [server.resident_mb()], " MB")
    kinds = [headers[: count // 3 + 1] for kind, headers in bench.credentials.items() if kind != "Basic"]
    with bench.serve(bench.base, COUNTERSIGN_CREDENTIAL_CACHE=str(count)) as server:
        bench.show_once(server, list(itertools.chain(*kinds))[:count])
        time.sleep(11)  # Last uses are written down every five seconds, and forgotten five seconds later.
        yield Figure.of(f"resident memory, {count:,} warm credentials", "≤ 120 MB", [server.resident_mb()], " MB")


ROWS = {
    "health": health,
    "me": partial(warm, path="/me", what="`GET /me` by {}, warm ÷ `/health`", headers={}),
    "verify": partial(
        warm, path="/verify", what="`GET /verify` as a proxy asks it, by {}, warm ÷ `/health`", headers=FROM_PROXY),
    "many": many, "cold": cold, "growth": growth, "postgres": on_postgres, "login": login, "storm": storm,
    "neighbours": neighbours, "flood": flood, "writes": writes,
    "import": importing, "start": start, "memory": memory, "peers": peers,
}
