"""Load from wrk, and from the tool of our own for what wrk cannot do. A run in which anything went wrong is no run."""

import json, os, re, subprocess

from machine import Failed

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wrk")
CONNECTIONS = 32
# How long an answer may take, in seconds: a password that waits for its hash behind 31 others.
PATIENCE = 10


def wrk(url, seconds, header=None, script="report", file=None, connections=CONNECTIONS):
    """One thread of wrk, since it shares the machine with the server. What it counted, with the requests a second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={PATIENCE}s"]
    command += ["-s", os.path.join(SCRIPTS, script + ".lua")]
    command += ["-H", f"Authorization: {header}"] if header else []
    command += [url] + (["--", file] if file else [])
    environment = {**os.environ, "LUA_PATH": os.path.join(SCRIPTS, "?.lua")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds + 30)
    result = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if not result:
        raise Failed(f"wrk failed: {(done.stderr or done.stdout).strip()[-300:]}")
    result = json.loads(result[1])
    wrong = {kind: result[kind] for kind in ("connect", "read", "write", "timeout", "status") if result[kind]}
    if wrong or not result["requests"]:
        raise Failed(f"of {result['requests']} requests to {url} these went wrong: {wrong}")
    result["per_second"] = result["requests"] / result["microseconds"] * 1e6
    return result


def once(result):
    """The same run, if no credential was shown a second time in it."""
    if result["sent"] > result["prepared"]:
        raise Failed(f"{result['prepared']} credentials were not enough for one run, which took {result['sent']}")
    return result


def write_requests(file, requests):
    """Whole requests, as `load` reads them."""
    with open(file, "wb") as out:
        for method, path, headers, body in requests:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            length = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
            out.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{head}{length}\r\n{body}\0".encode())


class Load:
    """Our own tool. It speaks from many addresses, so that no limit on one address is met."""

    def __init__(self, program):
        self.program = program

    def command(self, port, file, clients, seconds=None, rate=None, bodies=None):
        command = [self.program, f"127.0.0.1:{port}", file, f"--clients={clients}"]
        command += [f"--seconds={seconds}"] if seconds else []
        command += [f"--rate={rate:.1f}"] if rate else []
        return command + ([f"--bodies={bodies}"] if bodies else [])

    def start(self, *args, **more):
        return subprocess.Popen(self.command(*args, **more), stdout=subprocess.PIPE, text=True)

    def finish(self, process, allowed=("200",)):
        """What a run counted. Any other answer, and any error, makes it no run."""
        try:
            result = json.loads(process.communicate(timeout=600)[0] or "null")
        finally:
            process.kill()
        if not result:
            raise Failed("the load tool failed")
        counts = {status: answers["count"] for status, answers in result["answers"].items()}
        if result["errors"] or not set(counts) <= set(allowed):
            raise Failed(f"of {result['sent']} requests some went wrong: {counts} {result['errors'] or ''}")
        return result

    def run(self, *args, allowed=("200",), **more):
        return self.finish(self.start(*args, **more), allowed)
