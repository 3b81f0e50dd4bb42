"""Builds what is measured and what measures."""

import json, subprocess, sys


def built(repository, *command):
    """The programs that a cargo command makes, by name. Its progress is shown."""
    done = subprocess.run(
        ["cargo", *command, "--message-format=json-render-diagnostics"],
        cwd=repository,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit("the build failed")
    messages = map(json.loads, filter(None, done.stdout.splitlines()))
    return {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}


def build(repository):
    # The server by itself, as it is shipped: together with the others it would get the features that tests ask of its
    # dependencies.
    programs = built(repository, "build", "--release", "--bin", "countersign")
    programs |= built(repository, "build", "--release", "--example", "hello", "--example", "load")
    return programs | built(repository, "bench", "--no-run", "--bench", "micro")
