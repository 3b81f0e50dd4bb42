"""What `scripts/scale` measures: see there."""

import contextlib, json, os, re, shutil, socket, statistics, subprocess, sys, tempfile, time, urllib.request

from postgres import PROGRAMS, postgres, psql

BINARY = os.path.abspath(sys.argv[1])
SECONDS = 5
TICKS = os.sysconf("SC_CLK_TCK")
SECRET_KEY = "c2NhbGUtc2NhbGUtc2NhbGUtc2NhbGUtc2NhbGUtc2M="
CHEAP = ["--argon2-memory-kib", "8", "--argon2-iterations", "1"]
OPEN = ["--limit-burst", "off", "--sessions-per-user", "1000", "--connections-per-address", "off"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def servers(folder, count, *flags):
    """Servers on one database, with the administrator root. Gives their addresses and processes."""
    settings = {"PATH": os.environ["PATH"], "DATABASE_URL": f"postgres:///postgres?host={folder}&user=postgres"}
    settings |= {"COUNTERSIGN_SECRET_KEY": SECRET_KEY, "COUNTERSIGN_ADMIN_USERNAME": "root"}
    settings |= {"COUNTERSIGN_ADMIN_PASSWORD": "my-password", "COUNTERSIGN_PUBLIC_URL": "http://localhost:5000"}
    running, urls = [], []
    try:
        for _ in range(count):
            port = free_port()
            command = [BINARY, "serve", "--listen", f"127.0.0.1:{port}", "--drain-time", "0s", *OPEN, *flags]
            log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            running.append(subprocess.Popen(command, env=settings, cwd=folder, **log))
            urls.append(f"http://127.0.0.1:{port}")
            while True:
                with contextlib.suppress(OSError):
                    if urllib.request.urlopen(urls[-1] + "/ready").status == 200:
                        break
                if running[-1].poll() is not None:
                    sys.exit("a server did not start")
                time.sleep(0.05)
        yield urls, running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def request(url, path, token=None, body=None):
    headers = {"content-type": "application/json"} | ({"authorization": "Bearer " + token} if token else {})
    data = json.dumps(body).encode() if body is not None else None
    answer = urllib.request.urlopen(urllib.request.Request(url + path, data, headers))
    text = answer.read()
    return json.loads(text) if text else None


LOGIN = {"username": "root", "password": "my-password"}


def login(url):
    return request(url, "/login", body=LOGIN)["opaque_token"]


def processor_time(pids):
    """Seconds of processor time, with those of children that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15]) / TICKS
    return total


def tree(folder):
    postmaster = open(folder + "/data/postmaster.pid").readline().strip()
    children = subprocess.run(["pgrep", "-P", postmaster], capture_output=True, text=True).stdout.split()
    return [postmaster, *children]


def load(urls, script):
    """Requests a second on all servers together, and whether any failed."""
    clients = []
    for url in urls:
        command = ["wrk", "-t1", f"-c{48 // len(urls)}", f"-d{SECONDS}s", "--timeout", "10s", "-s", script, url]
        clients.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    answered, rate = 0, 0.0
    for client in clients:
        text = client.communicate()[0]
        if "Non-2xx" in text or "Socket errors" in text:
            sys.exit(f"requests failed:\n{text}")
        answered += int(re.search(r"(\d+) requests in", text)[1])
        rate += float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    return answered, rate


def measure(folder, urls, running, script):
    pids = lambda: ([process.pid for process in running], tree(folder))
    load(urls, script)  # until caches and connections are warm
    mine, theirs = pids()
    before = processor_time(mine), processor_time(theirs)
    answered, rate = load(urls, script)
    after = processor_time(mine), processor_time(theirs)
    return rate, *[(b - a) / answered * 1e6 for a, b in zip(before, after)]


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def table(*heads):
    print()
    row(*heads)
    row(*["---"] * len(heads))


def write_scripts(folder, token):
    with open(folder + "/me.lua", "w") as file:
        file.write(f'wrk.path = "/me"; wrk.headers["authorization"] = "Bearer {token}"')
    # Of many users: two logins of one wait for each other.
    with open(folder + "/login.lua", "w") as file:
        file.write('''
            local i = math.random(0, 499)
            local headers = { ["content-type"] = "application/json" }
            request = function()
                i = (i + 1) % 500
                return wrk.format("POST", "/login", headers, '{"username":"user' .. i .. '","password":"my-password"}')
            end''')


def throughput():
    table("request", "servers", "requests a second", "µs of a server", "µs of PostgreSQL")
    work = [
        ("`GET /me`, warm", [], "me.lua", False),
        ("`GET /me`, cold (no cache)", ["--credential-cache", "0"], "me.lua", False),
        ("`POST /login`", [], "login.lua", False),
        ("`POST /login` with the cheapest hash: a durable write", CHEAP, "login.lua", False),
        ("the same, each `fsync` 2 ms slower", CHEAP, "login.lua", True),
    ]
    for name, flags, script, slow_disk in work:
        with postgres("max_connections=200", slow_disk=slow_disk) as (folder, _):
            for count in (1, 2, 3):
                with servers(folder, count, *flags) as (urls, running):
                    scripts = tempfile.mkdtemp()
                    psql(folder, USERS)
                    write_scripts(scripts, login(urls[0]))
                    rate, mine, theirs = measure(folder, urls, running, f"{scripts}/{script}")
                    row(name, count, f"{rate:,.0f}", f"{mine:,.0f}", "—" if slow_disk else f"{theirs:,.0f}")
                    shutil.rmtree(scripts)


def statements():
    """Each request once, on an idle server, with PostgreSQL writing down what it is asked."""
    table("request", "statements", "of them writes")
    with postgres("log_statement=all") as (folder, _), servers(folder, 1, "--credential-cache", "0") as (urls, _running):
        log = folder + "/log"

        def count(name, work):
            work()  # the first time prepares statements
            time.sleep(6 - time.time() % 5)  # between two rounds of maintenance
            begun = os.path.getsize(log)
            work()
            time.sleep(0.3)
            with open(log) as file:
                file.seek(begun)
                text = [line for line in file if re.search(r"LOG:  (statement|execute)", line)]
            text = [line for line in text if "change_head LEFT JOIN" not in line]
            writes = sum(bool(re.search(r"(INSERT|UPDATE|DELETE)", line)) for line in text)
            row(name, len(text), writes)

        token = login(urls[0])
        jwt = request(urls[0], "/login", body=LOGIN)["token"]
        count("`GET /me` by opaque token, not cached", lambda: request(urls[0], "/me", token))
        count("`GET /me` by JWT, not cached", lambda: request(urls[0], "/me", jwt))
        count("`POST /login`", lambda: login(urls[0]))
        count("`POST /login` and `/logout`", lambda: request(urls[0], "/logout", login(urls[0]), {}))
        begun = os.path.getsize(log)
        time.sleep(60)
        with open(log) as file:
            file.seek(begun)
            idle = sum(bool(re.search(r"LOG:  (statement|execute)", line)) for line in file)
        print(f"\nA server that nobody asks anything: {idle} statements in a minute.")


USERS = """
INSERT INTO users (id, username, roles, status, password_hash, must_change_password, created_at, updated_at, password_scheme)
SELECT gen_random_uuid(), 'user' || i, 'user', 'active', password_hash, FALSE, 1, 1, password_scheme
FROM users, generate_series(0, 499) AS i WHERE username = 'root' ON CONFLICT DO NOTHING;
ANALYZE
"""

GENERATED = """
INSERT INTO users (id, username, name, email, roles, status, password_hash, must_change_password, created_at, updated_at,
    last_login_at, name_key, email_key, password_scheme)
SELECT gen_random_uuid(), 'user' || i, 'User Number ' || i, 'user' || i || '@example.com', 'user', 'active',
    '$argon2id$v=19$m=19456,t=2,p=1$' || substr(md5(i::TEXT), 1, 22) || '$' || substr(md5(i::TEXT) || md5(i::TEXT), 1, 43), FALSE,
    1, 1, 1, 'user number ' || i, 'user' || i || '@example.com', 'argon2id v=19 m=19456 t=2 p=1'
FROM generate_series(1, 1000000) AS i;
INSERT INTO status_lists (id, size, version, created_at, closed_at) SELECT gen_random_uuid(), 131072, 1, i, i FROM generate_series(1, 8) AS i;
INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, address, user_agent, last_seen_at, status_list, status_idx)
SELECT gen_random_uuid(), u.id, sha256(u.id::TEXT::BYTEA), 1, 9e15, '192.0.2.1',
    'Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0', 1, l.id, u.i / 8
FROM (SELECT id, row_number() OVER () AS i FROM users) AS u
JOIN (SELECT id, row_number() OVER () AS n FROM status_lists) AS l ON l.n = 1 + u.i % 8;
INSERT INTO personal_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at, last_used_at)
SELECT gen_random_uuid(), id, 'deploy', sha256(id::TEXT::BYTEA), 'profile', 1, 9e15, 1 FROM users;
INSERT INTO audit (seq, at, event, outcome, actor_id, subject_id, target, method, address, request_id, hash)
SELECT row_number() OVER () + 1000, 1, 'login.succeeded', 'done', id, id, gen_random_uuid()::TEXT, 'password', '192.0.2.1',
    md5(id::TEXT), sha256(id::TEXT::BYTEA) FROM users;
INSERT INTO known_networks (user_id, network, seen_at) SELECT id, '192.0.2.1', 1 FROM users;
VACUUM ANALYZE;
"""


def sizes():
    table("table", "bytes a row", "of them indexes", "a million", "100 million, extrapolated")
    with postgres("fsync=off") as (folder, _):
        with servers(folder, 1):
            pass
        for statement in filter(str.strip, GENERATED.split(";\n")):
            psql(folder, statement)
        for name in ["users", "sessions", "personal_tokens", "audit", "known_networks"]:
            sql = f"SELECT pg_total_relation_size('{name}'), pg_indexes_size('{name}'), count(*) FROM {name}"
            total, indexes, rows = map(int, psql(folder, sql).split("|"))
            each = total / rows
            row(f"`{name}`", f"{each:,.0f}", f"{indexes / rows:,.0f}", f"{each / 1000:,.1f} GB", f"{each / 10:,.0f} GB")


WRITE = """
\\set i random(0, 499)
BEGIN;
{begin}UPDATE users SET updated_at = updated_at + 1 WHERE username = 'user' || :i;
UPDATE audit_head SET seq = seq WHERE id = 1 RETURNING seq, hash, seal;
WITH {log}head AS (UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, hash)
INSERT INTO audit (seq, at, event, outcome, method, hash) SELECT seq, 1, 'user.updated', 'done', 'command', hash FROM head;
{commit}"""
LOG = """number AS (UPDATE change_head SET seq = seq + 1 WHERE id = 1 RETURNING seq),
change AS (INSERT INTO changes (seq, ids) SELECT seq, ARRAY[gen_random_uuid()] FROM number RETURNING seq),
"""
# As servers commit, and as they did before: the rows are held until the disk has it.
SHARED = {"begin": "SET LOCAL synchronous_commit = off;\n",
          "commit": "COMMIT AND CHAIN;\nSELECT pg_logical_emit_message(TRUE, 'countersign', '');\nCOMMIT;\n"}
ONE_BY_ONE = {"begin": "", "commit": "COMMIT;\n"}


def pgbench(folder, text, connections):
    """Transactions a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(text)
        file.flush()
        command = [PROGRAMS + "/pgbench", "-n", f"-c{connections}", "-j1", "-T3", "-Mprepared", "-f", file.name]
        said = subprocess.run([*command, "-h", folder, "-U", "postgres", "postgres"], capture_output=True, text=True)
    if said.returncode:
        sys.exit(f"pgbench failed: {said.stderr}")
    return float(re.search(r"tps = ([\d.]+)", said.stdout)[1])


def in_turn(folder, texts, connections, rounds):
    """Transactions a second of each text, in rounds whose order changes."""
    rates = [[] for _ in texts]
    for round in range(rounds):
        order = list(zip(texts, rates))
        for text, rate in reversed(order) if round % 2 else order:
            rate.append(pgbench(folder, text, connections))
    return rates


def durable_writes():
    """The statements of a durable write on PostgreSQL alone, by pgbench."""
    heads = "connections, six for each server", "as servers commit", "each holding its rows to the flush", "ratio"
    table("durable writes a second, each `fsync` 2 ms slower", *heads)
    with postgres("max_connections=200", slow_disk=True) as (folder, _):
        with servers(folder, 1):
            psql(folder, USERS)
        texts = [WRITE.format(log="", **how) for how in (SHARED, ONE_BY_ONE)]
        for connections in (6, 12, 18):
            shared, single = map(statistics.median, in_turn(folder, texts, connections, 5))
            row("", connections, f"{shared:,.0f}", f"{single:,.0f}", f"{shared / single:.1f}")
    table("durable writes a second, 16 connections", "with the log of changes", "without", "ratio")
    with postgres() as (folder, _):
        with servers(folder, 1):
            psql(folder, USERS)
        rates = in_turn(folder, [WRITE.format(log=log, **SHARED) for log in (LOG, "")], 16, 11)
        ratio = statistics.median(a / b for a, b in zip(*rates))
        row("", *(f"{statistics.median(rate):,.0f}" for rate in rates), f"{ratio:.2f}")


throughput()
durable_writes()
statements()
sizes()
