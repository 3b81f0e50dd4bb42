"""Users, sessions and tokens, written straight into a database. Through the server this would take hours.

The rows are the same as the server's own. Names and tokens follow from their numbers, so nobody has to keep them.
"""

import base64, contextlib, hashlib, os, sqlite3, time

PASSWORD = "my-password"
DAY = 24 * 3600 * 1000
NOW = int(time.time() * 1000)
YESTERDAY = NOW - DAY
PLACES = 1 << 17  # Sessions in one status list, as in the server.


def basic(username):
    return "Basic " + base64.b64encode(f"{username}:{PASSWORD}".encode()).decode()


def opaque(number):
    return f"{number:08x}-0000-4000-8000-000000000000"


def personal(number):
    secret = hashlib.sha256(b"%d" % number).digest()
    checksum = hashlib.sha256(b"countersign personal token" + secret).digest()[:4]
    return "cst_" + base64.urlsafe_b64encode(secret + checksum).decode()


# What the statements below call.
FUNCTIONS = {
    # A UUIDv7: a time, then what tells it from other ids of that time.
    "id": lambda kind, i: ((YESTERDAY + i // 16) << 80 | 7 << 76 | 2 << 62 | kind << 60 | i).to_bytes(16, "big"),
    "opaque_hash": lambda i: hashlib.sha256(opaque(i).encode()).digest(),
    "personal_hash": lambda i: hashlib.sha256(base64.urlsafe_b64decode(personal(i)[4:])).digest(),
}


def fill(file, users, sessions=0, personal_tokens=0, last_seen_at="NULL"):
    """Adds so many users with the admin's password, and so many sessions and personal tokens of all of them in turn."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:

        def insert(table, count, **columns):
            """Adds rows whose columns are these expressions of `i`, the number of the row."""
            numbers = f"numbers (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers LIMIT {count})"
            rows = f"SELECT {', '.join(map(str, columns.values()))} FROM numbers"
            database.execute(f"WITH RECURSIVE {numbers} INSERT INTO {table} ({', '.join(columns)}) {rows}")

        for name, function in FUNCTIONS.items():
            database.create_function(name, function.__code__.co_argcount, function)
        # Nothing slows down the inserts: if the machine stops, the data is simply made again. Indexes come at the end.
        database.executescript(
            "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -3000000; PRAGMA temp_store = MEMORY")
        indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        indexes = dict(database.execute(indexes).fetchall())
        for name in indexes:
            database.execute(f"DROP INDEX {name}")
        password = database.execute("SELECT password_hash, password_scheme FROM users").fetchone()
        insert("users", users, id="id(0, i)", username="'user' || i", roles="'user'", status="'active'",
               name="'User ' || i", name_key="'user ' || i", email="'user' || i || '@example.com'",
               email_key="'user' || i || '@example.com'", must_change_password=0,
               password_hash=f"'{password[0]}'", password_scheme=f"'{password[1]}'", created_at=YESTERDAY, updated_at=YESTERDAY)
        insert("status_lists", sessions // PLACES + 1, id="id(1, i)", size=PLACES, version=0,
               created_at=YESTERDAY, closed_at=YESTERDAY)
        insert("sessions", sessions, id="id(2, i)", user_id=f"id(0, i % {users})", token_hash="opaque_hash(i)",
               address="'127.0.0.1'", user_agent="'bench'", created_at=YESTERDAY, expires_at=YESTERDAY + 30 * DAY,
               last_seen_at=last_seen_at, status_list=f"id(1, i / {PLACES})", status_idx=f"i % {PLACES}")
        insert("personal_tokens", personal_tokens, id="id(3, i)", user_id=f"id(0, i % {users})", name="'bench'",
               token_hash="personal_hash(i)", scopes="'profile'", created_at=YESTERDAY)
        for sql in indexes.values():
            database.execute(sql)
        # The server does the same when it stops. Without it SQLite plans as if the tables were still empty.
        database.executescript("PRAGMA analysis_limit = 1000; ANALYZE; PRAGMA journal_mode = WAL")
    os.sync()


def forget_uses(file):
    """As if nobody had used a session or a token since it was made."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.executescript("UPDATE sessions SET last_seen_at = NULL WHERE last_seen_at IS NOT NULL;"
                               "UPDATE personal_tokens SET last_used_at = NULL WHERE last_used_at IS NOT NULL")
