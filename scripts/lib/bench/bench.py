"""What the rows share: how often and how long, the sides of a ratio in turn, and the data that most of them use."""

import itertools, json, math, os, statistics, subprocess
from dataclasses import asdict, dataclass, field

from load import Load, wrk, write_requests
from machine import Failed, Process
from seed import Seed, filling
from server import Abilities, Countersign, basic, copy_database, make_database

USERS = 10_000


@dataclass
class Figure:
    """One line of the table."""

    row: str
    what: str
    bar: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    met: bool | None = None
    detail: str = ""
    failed: bool = False
    asdict = asdict


def rate(per_second):
    """Requests a second, for people."""
    return f"{per_second / 1000:.1f} k/s" if per_second >= 1000 else f"{per_second:.1f}/s"


def ratios(top, bottom):
    """One side divided by the other, round by round."""
    return [above / below for above, below in zip(top, bottom)]


def surely_between(values):
    """Where the median of ever more rounds would lie, 99 times of 100, by the order of those there are. Fewer than eight
    cannot tell so surely; all of five lie on one side of it once in 16 times."""
    spare = max(0, math.floor(len(values) / 2 - 1.288 * math.sqrt(len(values))))
    ordered = sorted(values)
    return ordered[spare], ordered[-1 - spare]


def is_sure(values, bar):
    """Whether more rounds would hardly bring the median to the other side of the bar."""
    low, high = surely_between(values)
    return not low <= bar <= high


@dataclass
class Base:
    """A database with users, sessions and tokens, and a credential for each of them."""

    folder: str
    database: str
    credentials: dict = field(default_factory=dict)


class Bench:
    def __init__(self, programs, folder, quick):
        self.programs, self.folder, self.quick = programs, folder, quick
        self.rounds, self.seconds = (3, 1) if quick else (21, 1)
        # Of rows that take longer than a second a round.
        self.few_rounds = 2 if quick else 5
        self.can = Abilities(programs["countersign"])
        self.load = Load(programs["load"])
        self.names = itertools.count()
        self.curves, self.made = {}, {}

    def new_folder(self):
        return os.path.join(self.folder, f"database{next(self.names)}")

    def once(self, name, make):
        """What several rows need, made when the first one asks for it."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def serve(self, folder=None, **more):
        """A server on this database, or on a new one."""
        if not folder:
            make_database(self.can.program, folder := self.new_folder())
        return Countersign(self.can.program, folder, **more)

    def hello(self):
        """The bare axum server."""
        hello = Process([self.programs["hello"]], self.folder, {}, r"listens on 127\.0\.0\.1:(\d+)")
        hello.url = f"http://127.0.0.1:{hello.found[1]}"
        return hello

    def in_turn(self, sides, rounds=None, bars=None):
        """Runs the sides one after the other, round after round, every second round backwards. With bars, by the names of
        two sides, those whose ratio is too close to its bar to be sure go on, up to five times as long."""
        results, rounds, bars = {name: [] for name in sides}, rounds or self.rounds, bars or {}
        going = list(sides)
        for turn in range(rounds if self.quick else 5 * rounds):
            if turn >= rounds:
                unsure = [pair for pair, bar in bars.items() if not is_sure(ratios(*(results[name] for name in pair)), bar)]
                # Whoever was sure once stays so.
                going = [name for name in going if any(name in pair for pair in unsure)]
            for name in going[:: -1 if turn % 2 else 1]:
                results[name].append(sides[name]())
        return results

    def figure(self, row, what, bar, values, unit="", detail="", most=None, least=None):
        """The median, how far the rounds lie apart, and whether that is good enough."""
        value = statistics.median(values)
        met = value >= least if least is not None else value <= most
        return Figure(row, what, bar, value, min(values), max(values), unit, met, detail)

    def ratio(self, row, what, bar, top, bottom, least=None, most=None, show=rate):
        """A figure that is one side divided by the other, round by round."""
        values = ratios(top, bottom)
        detail = f"{show(statistics.median(top))} ÷ {show(statistics.median(bottom))}"
        if not self.quick and not is_sure(values, most if least is None else least):
            detail += f"; too close to the bar to be sure, after {len(values)} rounds"
        return self.figure(row, what, bar, values, detail=detail, least=least, most=most)

    def plot_throughput(self, rounds):
        """Notes the requests a second of these things for the plot."""
        self.curves.setdefault("throughput", {}).update(rounds)

    def argon2id_seconds(self, at_once=1):
        """The time of one argon2id of the default cost, by the micro benchmark; the slowest's, when several run."""
        flags = f"--bench --noplot --warm-up-time 0.2 --measurement-time {0.5 if self.quick else 2} argon2id"
        homes = [os.path.join(self.folder, f"criterion{i}") for i in range(at_once)]
        quiet = {"cwd": self.folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        runs = [
            subprocess.Popen(
                [self.programs["micro"], *flags.split()], env={**os.environ, "CRITERION_HOME": home}, **quiet
            )
            for home in homes
        ]
        if any([run.wait() for run in runs]):
            raise Failed("the micro benchmark failed")
        times = []
        for home in homes:
            with open(os.path.join(home, "argon2id/default/new/estimates.json")) as estimates:
                times.append(json.load(estimates)["median"]["point_estimate"] / 1e9)
        return max(times)

    def base(self):
        """10,000 users with sessions and personal tokens, as many as cold runs need."""
        return self.once("base", self.make_base)

    def make_base(self):
        sessions, jwts = (60_000, 20_000) if self.quick else (400_000, 120_000)
        folder = self.new_folder()
        base = Base(folder, make_database(self.can.program, folder))
        with filling(base.database, "users", "sessions", "personal_tokens") as database:
            seed = Seed(database)
            seed.users(USERS)
            opaque = seed.sessions(sessions, sessions)
            personal = seed.personal_tokens(sessions)
        base.credentials = {
            "opaque": [f"Bearer {token}" for token in opaque],
            "jwt": self.jwts(folder, opaque[:jwts]),
            "personal": [f"Bearer {token}" for token in personal],
            "basic": [basic(f"user{i}") for i in range(USERS)],
        }
        return base

    def jwts(self, folder, tokens):
        """A JWT for each of these sessions, by the server."""
        requests, bodies = os.path.join(folder, "requests"), os.path.join(folder, "bodies")
        write_requests(requests, (("POST", "/refresh", {"authorization": f"Bearer {token}"}, "") for token in tokens))
        with Countersign(self.can.program, folder) as server:
            self.load.run(server.port, requests, clients=16, bodies=bodies)
        with open(bodies) as answers:
            return ["Bearer " + json.loads(answer)["token"] for answer in answers]

    def copy_of_base(self):
        folder = self.new_folder()
        copy_database(self.base().folder, folder)
        return folder

    def credentials_file(self, headers):
        file = os.path.join(self.folder, f"credentials{next(self.names)}")
        with open(file, "w") as out:
            out.writelines(header + "\n" for header in headers)
        return file

    def show_once(self, server, headers, path="/me", clients=16):
        """Shows each credential once."""
        requests = os.path.join(self.folder, f"requests{next(self.names)}")
        write_requests(requests, (("GET", path, {"authorization": header}, "") for header in headers))
        self.load.run(server.port, requests, clients)

    def show(self, server, path, header=None, file=None, seconds=None):
        """Requests a second to this path, with one credential or with those of a file in turn."""
        script = "credentials" if file else "report"
        return wrk(server.url + path, seconds or self.seconds, header, script, file)["per_second"]
