"""The rows of what grows with the number of users: import, start and memory."""

import os, sqlite3, subprocess, time, urllib.request

from bench import Figure
from machine import Failed, NotMeasured, free_port, resident_mb
from seed import Seed, filling
from server import SETTINGS, make_database

MANY = 1_000_000


def importing(bench):
    if not bench.can.imports:
        raise NotMeasured("this build has no `import`")
    count = 100_000 if bench.quick else MANY
    file = os.path.join(bench.folder, "users.csv")
    write_users(bench, file, count)
    runs = [import_once(bench, file, count) for _ in range(bench.few_rounds)]
    os.remove(file)
    yield bench.figure(
        "import",
        f"import of {count:,} users with hashes, rows a second",
        "≥ 50,000",
        [speed for speed, _ in runs],
        least=50_000,
    )
    # From when a fifth is done: by then what does not grow has been taken.
    growths = [max(memory) - max(memory[: len(memory) // 5 + 1]) for _, memory in runs]
    peak = max(max(memory) for _, memory in runs)
    yield bench.figure(
        "import",
        "its memory from a fifth of the way to the end, growth",
        "≤ 16 MB",
        growths,
        " MB",
        f"at most {peak:.0f} MB",
        most=16,
    )


def write_users(bench, file, count):
    with sqlite3.connect(make_database(bench.can.program, bench.new_folder())) as database:
        (hash,) = database.execute("SELECT password_hash FROM users").fetchone()
    with open(file, "w") as out:
        out.write("username,name,email,password_hash\n")
        # argon2id writes commas into its hash, so the field is quoted.
        out.writelines(f'user{i},User {i},user{i}@example.com,"{hash}"\n' for i in range(count))


def import_once(bench, file, count):
    """Rows a second, and the memory all along."""
    database = make_database(bench.can.program, folder := bench.new_folder())
    memory, begun = [], time.monotonic()
    process = subprocess.Popen(
        [bench.can.program, "import", file],
        cwd=folder,
        env={**SETTINGS, "RUST_LOG": "off"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.poll() is None:
            memory.append(resident_mb(process.pid))
            time.sleep(0.05)
    finally:
        process.kill()
    seconds = time.monotonic() - begun
    if process.returncode:
        raise Failed(f"the import failed: {process.stderr.read().strip()[-300:]}")
    with sqlite3.connect(database) as database:
        (imported,) = database.execute("SELECT count(*) FROM users WHERE username <> 'root'").fetchone()
    if imported != count:
        raise Failed(f"of {count} users {imported} were imported")
    return count / seconds, memory


def start(bench):
    count, folder = 100_000 if bench.quick else MANY, bench.new_folder()
    with filling(make_database(bench.can.program, folder), "users") as database:
        Seed(database).users(count)
    bench.serve(folder).stop()

    def once():
        port, begun = free_port(), time.monotonic()
        with bench.serve(folder, port=port) as server:
            while not is_ready(server.url):
                if time.monotonic() - begun > 30:
                    raise Failed("it was not ready after 30 seconds")
                time.sleep(0.001)
            return 1e3 * (time.monotonic() - begun)

    times = [once() for _ in range(3 * bench.rounds)]
    yield bench.figure("start", f"start to ready, {count:,} users", "≤ 300 ms", times, " ms", most=300)


def is_ready(url):
    try:
        with urllib.request.urlopen(url + "/ready", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def memory(bench):
    base, count = bench.base(), 30_000 if bench.quick else 100_000
    with bench.serve(base.folder) as server:
        time.sleep(1)
        idle = resident_mb(server.pid)
    yield bench.figure("memory", "resident memory, idle", "≤ 30 MB", [idle], " MB", most=30)
    kinds = [base.credentials[kind] for kind in ("jwt", "opaque", "personal")]
    jwts = min(len(kinds[0]), count // 3)
    others = (count - jwts) // 2
    warm = kinds[0][:jwts] + kinds[1][:others] + kinds[2][: count - jwts - others]
    settings = {"COUNTERSIGN_CREDENTIAL_CACHE": str(count)} if bench.can.credential_cache else {}
    with bench.serve(base.folder, settings=settings) as server:
        bench.show_once(server, warm, clients=32)
        # Last uses are written down every five seconds, and forgotten five seconds later.
        time.sleep(1 if bench.quick else 11)
        used = resident_mb(server.pid)
    what = f"resident memory, {count:,} warm credentials"
    bar = "≤ 120 MB" if count == 100_000 else "≤ 120 MB at 100,000"
    if bench.can.credential_cache:
        yield bench.figure("memory", what, bar, [used], " MB", most=120)
    else:
        yield Figure(
            "memory", what, bar, detail=f"this build keeps none warm; {used:.1f} MB after {count:,} were shown"
        )
