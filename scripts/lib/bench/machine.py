"""This machine: the programs that are built on it, and the processes that run there."""

import contextlib, json, os, platform, re, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
TOOLS = REPOSITORY / "benches" / "tools"


class Failed(Exception):
    """Something went wrong in a run, so its row has no figure."""


class Process(subprocess.Popen):
    """A program in the background, which is stopped when its `with` ends."""

    def __init__(self, command, folder, **environment):
        # Appending keeps the process at the end of the file while we read from its beginning.
        self.log = tempfile.TemporaryFile("a+", errors="replace")
        # The server logs to standard output. It writes every line, but the disk is not what we measure.
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": self.log}
        super().__init__(command, cwd=folder, env={"PATH": os.environ["PATH"], **environment}, **streams)

    def said(self):
        self.log.seek(0)
        return self.log.read().strip()[-2000:]

    def wait_until(self, condition):
        """Waits until `condition()` is true, and returns what it returned."""
        end = time.monotonic() + 30
        try:
            while not (result := condition()):
                if time.monotonic() > end or self.poll() is not None:
                    raise Failed(f"{self.args[0]} did not start: {self.said()}")
                time.sleep(0.001)
            return result
        except BaseException:
            self.stop()
            raise

    def listening(self):
        """Waits until the process has said where it listens."""
        self.address = self.wait_until(lambda: re.search(r"[Ll]isten.*(127\.0\.0\.1:\d+)", self.said()))[1]
        self.url = f"http://{self.address}"
        return self

    def answers(self, path):
        """Whether a request succeeds."""
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url + path, timeout=1):
            return True

    def resident_mb(self):
        """Its memory in MB, or 0 once it has ended."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024 / 1e6 if found else 0.0

    def stop(self, *_):
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(15)
        self.kill()
        self.wait()

    __exit__ = stop


def run(command):
    """What a command prints. If it fails, so does the row."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Failed(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def build():
    """Builds what is measured and what measures. Returns the paths of the programs by name."""
    programs, tools = {}, "--example commits --example hello --example load"
    # The server is built by itself, as it is shipped. A build together with the tools would give it the features that
    # tests ask of its dependencies.
    for what in ("build --release --bin countersign", f"build --release {tools}", "bench --no-run --bench micro"):
        command = ["cargo", *what.split(), "--locked", "--message-format=json-render-diagnostics"]
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit("the build failed")
        messages = map(json.loads, done.stdout.splitlines())
        programs |= {each["target"]["name"]: each["executable"] for each in messages if each.get("executable")}
    return programs


def describe():
    """The machine and the versions, for readers who compare."""

    def said_by(command, end="\n"):
        return subprocess.run(command.split(), cwd=REPOSITORY, capture_output=True, text=True).stdout.partition(end)[0]

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}, {memory:.0f} GiB memory, "
    tools = f"{said_by('rustc --version', ' (')}, {said_by('wrk --version', ' [')}, Python {platform.python_version()}"
    return {"machine": machine + f"Linux {platform.release().split('-')[0]}",
            "countersign": said_by("git describe --always --dirty"), "tools": tools}
