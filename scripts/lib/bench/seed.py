"""Fills a database with users, sessions and personal tokens, straight into its tables: what would take hours through
the server takes a minute. The rows are those the server would have written; the tokens of some are known here."""

import base64, contextlib, hashlib, os, random, sqlite3, time, uuid

# Places in a status list, as the server makes them.
PLACES = 1 << 17
DAY = 24 * 3600 * 1000


@contextlib.contextmanager
def filling(file, *tables):
    """The database, with nothing in the way of a fast insert: what is lost when the machine stops is made anew. The
    indexes of `tables` are built once, at the end."""
    database = sqlite3.connect(file, isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -3000000; PRAGMA temp_store = MEMORY;"
    )
    marks = ", ".join("?" * len(tables))
    indexes = database.execute(
        f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({marks})",
        tables,
    ).fetchall()
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    database.execute("BEGIN")
    yield database
    database.execute("COMMIT")
    for _, sql in indexes:
        database.execute(sql)
    # As the server does when it stops: what SQLite knew of the tables when they were empty leads its planner astray.
    database.executescript("PRAGMA analysis_limit = 1000; ANALYZE; PRAGMA journal_mode = WAL")
    database.close()
    os.sync()


def ids(count, chance, until):
    """UUIDv7s in order, of moments that end at `until`."""
    for i in range(count):
        moment = until - (count - i) // 16
        yield (moment << 80 | 7 << 76 | (i % 4096) << 64 | 2 << 62 | chance.getrandbits(62)).to_bytes(16, "big")


def forget_uses(file):
    """As if no session and no token had been used since it was made."""
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE sessions SET last_seen_at = NULL WHERE last_seen_at IS NOT NULL")
        database.execute("UPDATE personal_tokens SET last_used_at = NULL WHERE last_used_at IS NOT NULL")


def now():
    return int(time.time() * 1000)


class Seed:
    """Seeds one database. What is drawn is the same in every run."""

    def __init__(self, database):
        self.database, self.chance = database, random.Random(7)
        (self.password_hash,) = database.execute("SELECT password_hash FROM users WHERE username = 'root'").fetchone()

    def users(self, count):
        """Users `user0`, `user1`…, with the password of the admin and its very hash."""
        rows = (
            (
                id,
                f"user{i}",
                f"User {i}",
                f"user{i}@example.com",
                "user",
                "active",
                self.password_hash,
                0,
                at,
                at,
                f"user {i}",
                f"user{i}@example.com",
            )
            for at in [now() - DAY]
            for i, id in enumerate(ids(count, self.chance, at))
        )
        self.database.executemany(
            "INSERT INTO users (id, username, name, email, roles, status, password_hash, must_change_password, "
            "created_at, updated_at, name_key, email_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def sessions(self, count, known, last_seen_at=None):
        """Live sessions, of all users in turn. Gives the opaque tokens of `known` of them, evenly spread."""
        users = [id for (id,) in self.database.execute("SELECT id FROM users WHERE username <> 'root'")]
        at, every, tokens = now() - DAY, count // known, []
        lists = list(ids(count // PLACES + 1, self.chance, at))
        self.database.executemany(
            "INSERT INTO status_lists (id, size, version, created_at, closed_at) VALUES (?, ?, 0, ?, ?)",
            ((id, PLACES, at, at) for id in lists),
        )

        def rows():
            for i, id in enumerate(ids(count, self.chance, at)):
                if i % every == 0 and len(tokens) < known:
                    token = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
                    tokens.append(token)
                    hash = hashlib.sha256(token.encode()).digest()
                else:
                    hash = self.chance.randbytes(32)
                yield (
                    id,
                    users[i % len(users)],
                    hash,
                    at,
                    at + 30 * DAY,
                    "127.0.0.1",
                    "seed",
                    last_seen_at,
                    lists[i // PLACES],
                    i % PLACES,
                )

        self.database.executemany(
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, address, user_agent, last_seen_at, "
            "status_list, status_idx) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows(),
        )
        return tokens

    def personal_tokens(self, count):
        """Personal access tokens of all users in turn."""
        users = [id for (id,) in self.database.execute("SELECT id FROM users WHERE username <> 'root'")]
        at, tokens = now() - DAY, []

        def rows():
            for i, id in enumerate(ids(count, self.chance, at)):
                secret = self.chance.randbytes(32)
                secret += hashlib.sha256(b"countersign personal token" + secret).digest()[:4]
                tokens.append("cst_" + base64.urlsafe_b64encode(secret).decode())
                yield id, users[i % len(users)], "seed", hashlib.sha256(secret).digest(), "profile", at

        self.database.executemany(
            "INSERT INTO personal_tokens (id, user_id, name, token_hash, scopes, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            rows(),
        )
        return tokens
