"""Requests, sent by wrk or by our own tool. A run in which any of them fails does not count, and its row fails."""

import json, tempfile

from machine import TOOLS, Failed, run


def wrk(url, seconds, headers=None, lines=(), mode="credentials", connections=32):
    """Asks with these headers, or with those that the script makes of the lines. Returns counts and latencies.

    wrk has one thread, because it shares the machine with the server. A request may take ten seconds: a password waits
    for the hashes of 31 others.
    """
    command = f"wrk -t1 -c{connections} -d{seconds}s --timeout=10s {url} -s".split() + [TOOLS / "wrk.lua"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        said = run(command + (["--", mode, file.name] if lines else []))
    result = json.loads(said.partition("RESULT ")[2] or "null")
    if not result or not result["requests"] or any(result["failed"].values()):
        raise Failed(f"some requests to {url} went wrong: {result or said[-300:]}")
    return {**result, "per_second": result["requests"] / result["seconds"]}


def request(method, path, headers, body=""):
    """A whole request, as our own tool reads it."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n{head}\r\n{body}".encode()


def load(program, server, requests, allowed=("200",), **options):
    """Sends requests with our own tool, benches/tools/load.rs, which takes the options. Returns what it prints.

    It speaks from many addresses, so that no limit on a single address applies.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(requests))
        file.flush()
        result = json.loads(run([program, server.address, file.name, *(f"--{k}={v}" for k, v in options.items())]))
    counts = {status: answers["count"] for status, answers in result["answers"].items()}
    if result["errors"] or not set(counts) <= set(allowed):
        raise Failed(f"of {result['sent']} requests some went wrong: {counts} {result['errors']}")
    return {**result, "per_second": result["sent"] / result["seconds"]}
