"""Countersign, as built, on a database of its own."""

import base64, os, re, shutil, signal, subprocess

from machine import Failed, Process

PASSWORD = "my-password"
READY = r"listens on 127\.0\.0\.1:(\d+)"
SETTINGS = {
    "COUNTERSIGN_LISTEN": "127.0.0.1:0",
    "COUNTERSIGN_ADMIN_USERNAME": "root",
    "COUNTERSIGN_ADMIN_PASSWORD": PASSWORD,
    # Longer than any run, so that the tokens prepared for it are good to its end.
    "COUNTERSIGN_JWT_TTL": "24h",
}
# fsync and fdatasync take two milliseconds longer, as on a disk that is not this machine's. strace stops a thread at every
# call until it has seen one of those it was told of: each thread makes rseq's when it begins, and then runs free.
SLOW_DISK = [
    "strace",
    "-f",
    "--seccomp-bpf",
    "-o",
    "/dev/null",
    "-e",
    "trace=fsync,fdatasync,rseq",
    "-e",
    "inject=fsync,fdatasync:delay_exit=2000",
]


def basic(username):
    return "Basic " + base64.b64encode(f"{username}:{PASSWORD}".encode()).decode()


class Countersign(Process):
    """A server in `folder`, where its database is."""

    def __init__(self, program, folder, flags=(), settings=None, slow_disk=False, port=0):
        environment = {**SETTINGS, "COUNTERSIGN_LISTEN": f"127.0.0.1:{port}", **(settings or {})}
        command = [program, *flags]
        super().__init__([*SLOW_DISK, *command] if slow_disk else command, folder, environment, None if port else READY)
        self.port = port or int(self.found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.traced = slow_disk

    def stop(self):
        """Stops it, and the strace around it if there is one."""
        # strace goes when the server does; the other way round the server would stay.
        if self.traced and self.process.poll() is None:
            with open(f"/proc/{self.pid}/task/{self.pid}/children") as children:
                for child in children.read().split():
                    os.kill(int(child), signal.SIGTERM)
            self.process.wait(15)
        super().stop()


class Abilities:
    """What this build can do of what the rows ask for."""

    def __init__(self, program):
        def run(*args):
            return subprocess.run([program, *args], capture_output=True, text=True, env={"RUST_LOG": "off"}, cwd="/")

        usage = run("--help").stdout
        self.program = program
        self.credential_cache = "COUNTERSIGN_CREDENTIAL_CACHE" in usage
        self.imports = bool(re.search(r"^\s+import\b", usage, re.MULTILINE))
        # It is hidden from the help; the command that takes it does nothing else.
        self.group_commit_off = run("--group-commit-off", "openapi").returncode == 0

    def without_cache(self):
        """Settings under which every check is a first sight."""
        return {"COUNTERSIGN_CREDENTIAL_CACHE": "0"} if self.credential_cache else {}


def make_database(program, folder):
    """A database with its schema, its keys and its admin, as the server makes it."""
    os.makedirs(folder)
    Countersign(program, folder).stop()
    file = os.path.join(folder, "countersign.db")
    if not os.path.exists(file):
        raise Failed("the server made no database")
    return file


def copy_database(source, target):
    os.makedirs(target)
    for name in os.listdir(source):
        if name.startswith("countersign."):
            shutil.copy2(os.path.join(source, name), target)
    # Else the first commits of the server would have to bring all of it to the disk.
    os.sync()
