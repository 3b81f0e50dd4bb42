"""This machine, and the processes started on it. Each is ended by its own id, whatever happens to the run."""

import atexit, itertools, os, platform, re, shutil, signal, socket, subprocess, sys, tempfile, time

PATIENCE = 30


class NotMeasured(Exception):
    """Why a row has no figure: this build cannot do it yet, or this machine cannot hold it."""


class Failed(Exception):
    """What went wrong in a run, which then counts for nothing."""


class Process:
    """A server in the background. It is there once its standard error matches `ready`."""

    running = []
    numbers = itertools.count()

    def __init__(self, command, folder, environment, ready=None):
        self.said = os.path.join(folder, f"said.{next(Process.numbers)}")
        with open(self.said, "wb") as said:
            # A log that nobody keeps: every line is written, to where writing costs nothing.
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
        Process.running.append(self)
        self.pid = self.process.pid
        self.found = self.wait_for(ready) if ready else None

    def wait_for(self, ready):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := re.search(ready, self.words()):
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        words = self.words()[-2000:]
        self.stop()
        raise Failed(f"a server did not start: {words.strip() or 'it said nothing'}")

    def wait_until(self, holds):
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end or self.process.poll() is not None:
                raise Failed(f"a server did not answer: {self.words()[-2000:].strip() or 'it said nothing'}")
            time.sleep(0.02)

    def words(self):
        with open(self.said, errors="replace") as said:
            return said.read()

    def stop(self):
        if self in Process.running:
            Process.running.remove(self)
            if self.process.poll() is None:
                os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def stop_all():
    """Stops what is still running."""
    for process in list(Process.running):
        process.stop()


def workplace():
    """A folder that is gone when the run ends, however it ends; before it goes, every process is stopped."""
    folder = tempfile.mkdtemp(prefix="countersign-bench.")

    def clean():
        stop_all()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(clean)
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    return folder


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def resident_mb(pid):
    """What a process holds in memory, in MB; one that has ended holds nothing."""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(r"VmRSS:\s+(\d+)", status.read())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def said_by(*command, **more):
    """What a command prints, or nothing if there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **more)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()


def describe(repository):
    """The machine and the versions, for whoever compares."""
    with open("/proc/cpuinfo") as cpuinfo, open("/proc/meminfo") as meminfo:
        cpu = re.search(r"model name\s*: (.*)", cpuinfo.read())
        memory = int(re.search(r"MemTotal:\s+(\d+)", meminfo.read())[1]) / 2**20
    commit = said_by("git", "-C", repository, "describe", "--always", "--dirty")
    tools = [said_by("rustc", "--version").split(" (")[0], said_by("wrk", "--version").split(" [")[0]]
    return {
        "machine": f"{os.cpu_count()} cores, {cpu[1].strip() if cpu else platform.machine()}, {memory:.0f} GiB memory, "
        f"Linux {platform.release().split('-')[0]}",
        "countersign": commit or "unknown",
        "tools": ", ".join(filter(None, [*tools, "Python " + platform.python_version()])),
    }
