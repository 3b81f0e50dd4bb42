"""What the rows share: the servers, the data that most of them use, and how they compare."""

import functools, json, os, shutil, tempfile
from pathlib import Path

import data, rounds
from load import load, request, wrk
from machine import Failed, Process

# strace makes fsync and fdatasync take two milliseconds longer, like a slower disk. It stops a thread at every call
# until it has met one of those it traces, which would slow down everything. So it also traces rseq, which each thread
# calls when it begins. With -D strace is not the parent of the program, so our signals reach the program itself.
SLOW_DISK = "strace -D -f --seccomp-bpf -o /dev/null -e trace=fsync,fdatasync,rseq".split()
SLOW_DISK += ["-e", "inject=fsync,fdatasync:delay_exit=2000"]
SETTINGS = {
    "COUNTERSIGN_LISTEN": "127.0.0.1:0",
    "COUNTERSIGN_ADMIN_USERNAME": "root", "COUNTERSIGN_ADMIN_PASSWORD": data.PASSWORD,
    "COUNTERSIGN_JWT_TTL": "24h",  # Longer than any run, so that prepared JWTs stay valid.
}


class Bench:
    def __init__(self, programs, folder, quick):
        self.programs, self.folder, self.quick = programs, folder, quick
        # How many rounds of a second, and how many of rows whose rounds take longer.
        self.rounds, self.few = (2, 2) if quick else (21, 5)
        self.users, self.tokens, self.jwts = (10_000, 60_000, 20_000) if quick else (10_000, 400_000, 120_000)
        self.curves = {}  # By plot: what it shows.
        self.load = functools.partial(load, programs["load"])

    def new_folder(self):
        return Path(tempfile.mkdtemp(dir=self.folder))

    def new_database(self, **counts):
        """The folder of a database that the server has made, with what `data.fill` adds to it."""
        folder = self.new_folder()
        self.serve(folder).stop()
        if counts:
            data.fill(folder / "countersign.db", **counts)
        return folder

    @functools.cached_property
    def base(self):
        """The folder of the database that most rows use. It has tokens enough to show each of them once in a run."""
        return self.new_database(users=self.users, sessions=self.tokens, personal_tokens=self.tokens)

    def copy_of_base(self):
        folder = shutil.copytree(self.base, self.new_folder(), dirs_exist_ok=True)
        os.sync()  # Otherwise the first commits of a server would bring all of it to the disk.
        return folder

    @functools.cached_property
    def credentials(self):
        """Authorization headers for the base, by kind."""
        opaque = [f"Bearer {data.opaque(i)}" for i in range(self.tokens)]
        refreshes = [request("POST", "/refresh", {"authorization": header}) for header in opaque[: self.jwts]]
        with self.serve(self.base) as server, tempfile.NamedTemporaryFile("r") as bodies:
            self.load(server, refreshes, clients=16, bodies=bodies.name)
            jwt = [f"Bearer {json.loads(body)['token']}" for body in bodies]
        personal = [f"Bearer {data.personal(i)}" for i in range(self.tokens)]
        basic = [data.basic(f"user{i}") for i in range(self.users)]
        return {"opaque token": opaque, "JWT (ES256)": jwt, "personal token": personal, "Basic": basic}

    def serve(self, folder=None, prefix=(), **settings):
        """A server on the database in this folder, or on a new one."""
        command = [*prefix, self.programs["countersign"]]
        return Process(command, folder or self.new_folder(), **SETTINGS, **settings).listening()

    def show_once(self, server, headers):
        """Shows each credential once, so that it is warm."""
        self.load(server, [request("GET", "/me", {"authorization": header}) for header in headers], clients=32)

    def ask(self, server, path, headers=None, lines=()):
        """Requests a second, in one round."""
        return wrk(server.url + path, 1, headers, lines)["per_second"]

    def compare(self, sides, ratios, few=False, show=rounds.per_second, plot=(), into="throughput"):
        """Measures the sides in turn and returns a figure for each ratio. The sides named in `plot` go into a plot."""
        least = self.few if few else self.rounds
        took = rounds.in_turn(sides, ratios, least, least if self.quick else 5 * least)
        self.curves.setdefault(into, {}).update({name: took[name] for name in plot})
        return [ratio.figure(took, show) for ratio in ratios]

    def argon2id_seconds(self, at_once=1):
        """The time of one argon2id with the default cost, by `cargo bench`; of several at once, the slowest."""
        flags = f"--bench --noplot --warm-up-time 0.2 --measurement-time {0.5 if self.quick else 2} argon2id".split()
        folders = [self.new_folder() for _ in range(at_once)]
        runs = [Process([self.programs["micro"], *flags], folder, CRITERION_HOME=folder) for folder in folders]
        if any([run.wait() for run in runs]):
            raise Failed("the micro benchmark failed")
        results = [json.loads((folder / "argon2id/default/new/estimates.json").read_text()) for folder in folders]
        return max(result["median"]["point_estimate"] / 1e9 for result in results)
