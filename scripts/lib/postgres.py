"""A PostgreSQL for measurements, beside that of `scripts/lib/postgres` for tests: its commits reach the disk."""

import contextlib, glob, os, pwd, shutil, signal, subprocess, sys, tempfile, time

PROGRAMS = max(glob.glob("/usr/lib/postgresql/*/bin"), default="/usr/bin")


def as_postgres():
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []


@contextlib.contextmanager
def postgres(*settings, slow_disk=False):
    """A PostgreSQL whose commits reach the disk, each 2 ms later with `slow_disk`. Gives the folder and the process."""
    folder = tempfile.mkdtemp(prefix="countersign-scale-", dir="/tmp")
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    data = folder + "/data"
    init = [PROGRAMS + "/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(as_postgres() + init, check=True, **quiet)
    slow = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]
    slow += ["-e", "inject=fdatasync,fsync:delay_enter=2000"]
    run = [PROGRAMS + "/postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "shared_buffers=1GB"]
    run += ["-c", "logging_collector=off", *[word for setting in settings for word in ("-c", setting)]]
    log = open(folder + "/log", "w+")
    process = subprocess.Popen(as_postgres() + (slow if slow_disk else []) + run, stdout=log, stderr=log)
    try:
        while subprocess.run(["psql", "-h", folder, "-U", "postgres", "-c", "SELECT 1"], **quiet).returncode:
            if process.poll() is not None:
                sys.exit(f"PostgreSQL did not start: {open(folder + '/log').read()[-500:]}")
            time.sleep(0.1)
        yield folder, process
    finally:
        pid = int(open(data + "/postmaster.pid").readline())
        os.kill(pid, signal.SIGINT)
        process.wait()
        shutil.rmtree(folder)


def psql(folder, text):
    done = subprocess.run(["psql", "-h", folder, "-U", "postgres", "-qtA", "-c", text], check=True, capture_output=True, text=True)
    return done.stdout.strip()
