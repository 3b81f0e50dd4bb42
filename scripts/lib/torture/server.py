"""A server under torture, and its databases."""

import base64
import csv
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

USERS = 100
PASSWORD = "a-password-of-everybody"


class Server:
    """The release binary on a port of its own."""

    def __init__(self, binary, url, folder):
        self.binary, self.url, self.folder = binary, url, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None

    def __enter__(self):
        self.start()
        self.add_users()
        return self

    def __exit__(self, *_):
        self.kill()

    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.url,
            "COUNTERSIGN_LISTEN": f"127.0.0.1:{self.port}",
            "COUNTERSIGN_ADMIN_USERNAME": "root",
            "COUNTERSIGN_ADMIN_PASSWORD": PASSWORD,
            "COUNTERSIGN_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
            "COUNTERSIGN_SESSIONS_PER_USER": "1000",
            "COUNTERSIGN_LIMIT_BURST": "off",
            "COUNTERSIGN_HASH_QUEUE": "1000",
            "COUNTERSIGN_ARGON2_MEMORY_KIB": "8",
            "COUNTERSIGN_ARGON2_ITERATIONS": "1",
            "COUNTERSIGN_DRAIN_TIME": "0s",
            "RUST_LOG": "warn",
        }

    def start(self):
        """Starts the process, and waits until it is ready."""
        self.spawn()
        deadline = time.monotonic() + 30
        while self.ready() != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"the server does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def spawn(self):
        log = open(self.folder / "log", "ab")
        # SIGXFSZ comes with the error of a full disk and would end the process.
        ignore = lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.process = subprocess.Popen(
            [self.binary], env=self.environment(), cwd=self.folder, stdout=log, stderr=log, preexec_fn=ignore
        )

    def ready(self):
        import clients

        return clients.ask(self.port, "GET", "/ready")[0]

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(20)

    def add_users(self):
        # A cheap hash in the form of Django; the first login of each user replaces it.
        derived = base64.b64encode(hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"salt", 1)).decode()
        users = self.folder / "users.csv"
        with open(users, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["username", "password_hash"])
            rows.writerows([f"user-{number}", f"pbkdf2_sha256$1$salt${derived}"] for number in range(USERS))
        done = subprocess.run(
            [self.binary, "import", str(users)], env=self.environment(), cwd=self.folder, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)


class Sqlite:
    name = "SQLite"

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="countersign-torture-"))
        self.url = f"sqlite://{self.folder}/countersign.db"

    def close(self):
        shutil.rmtree(self.folder)


class Postgres:
    """A database of its own on the server of scripts/lib/postgres, over a line that can be cut without a word."""

    name = "PostgreSQL"

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="countersign-torture-"))
        self.socket = os.environ["POSTGRES_SOCKET"]
        self.database = f"torture_{os.getpid()}_{time.monotonic_ns()}"
        self.sql(f"CREATE DATABASE {self.database}", database="postgres")
        self.line = Line(self.folder / ".s.PGSQL.5432", f"{self.socket}/.s.PGSQL.5432")
        self.url = f"postgres:///{self.database}?host={self.folder}&user=postgres"

    def sql(self, text, database=None):
        command = ["psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-h", self.socket, "-U", "postgres", "-c", text]
        subprocess.run([*command, database or self.database], check=True, capture_output=True)

    def control(self, *what):
        """pg_ctl, as the user that the server runs as."""
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        data = os.environ["POSTGRES_FOLDER"] + "/data"
        command = [*user, os.environ["POSTGRES_CTL"], "-D", data, "-w", "-l", os.environ["POSTGRES_FOLDER"] + "/log", *what]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def close(self):
        self.line.close()
        shutil.rmtree(self.folder)


class Line:
    """Passes connections on to a socket. `cut` leaves those that there are open, and passes nothing more on."""

    def __init__(self, path, to):
        self.to, self.era = to, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.open, self.silent = set(), set()
        threading.Thread(target=self.accept, daemon=True).start()

    def cut(self):
        self.era += 1
        # Those of the cut before have been given up by either end, as TCP does after a while.
        hang_up(self.silent)
        self.open, self.silent = set(), self.open

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.to)
            except OSError:
                client.close()
                continue
            self.open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink, self.era), daemon=True).start()

    def copy(self, source, sink, era):
        try:
            while data := source.recv(65536):
                if era != self.era:
                    return
                sink.sendall(data)
        except OSError:
            pass
        if era == self.era:
            hang_up((source, sink))
            self.open -= {source, sink}

    def close(self):
        self.listener.close()


def hang_up(ends):
    for end in ends:
        try:
            # Wakes whoever waits for it, which `close` does not.
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()
