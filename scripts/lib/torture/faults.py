"""The faults. Each breaks something under a running server, and mends it again; the server must come back by itself."""

import os
import pathlib
import signal
import sqlite3
import subprocess
import time


def kill(server, store):
    """SIGKILL, then a new start"""
    server.kill()
    server.spawn()


def stop(server, store):
    """SIGTERM, then a new start"""
    server.kill(signal.SIGTERM)
    server.spawn()


def pause(server, store):
    """SIGSTOP for a second"""
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    server.process.send_signal(signal.SIGCONT)


def disk(server, store):
    """the disk is full for a second (a limit on the size of files)"""
    limit = lambda size: subprocess.run(["prlimit", f"--pid={server.process.pid}", f"--fsize={size}:"], check=True)
    log = pathlib.Path(str(store.folder / "countersign.db") + "-wal")
    limit(log.stat().st_size if log.exists() else 0)
    time.sleep(1)
    limit("unlimited")


def lock(server, store):
    """another process holds the write lock for three seconds"""
    other = sqlite3.connect(store.folder / "countersign.db", isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(3)
    other.execute("ROLLBACK")
    other.close()


def file(server, store):
    """the database file is moved away for a second"""
    name, away = store.folder / "countersign.db", store.folder / "away.db"
    os.rename(name, away)
    time.sleep(1)
    os.rename(away, name)


def pg_restart(server, store):
    """PostgreSQL restarts at once, as after a crash"""
    store.control("-m", "immediate", "restart")


def pg_stop(server, store):
    """PostgreSQL is away for three seconds"""
    store.control("-m", "fast", "stop")
    time.sleep(3)
    # Unlike a restart, a start does not remember where its socket is.
    store.control("-o", f"-c listen_addresses='' -k {store.socket} -c max_connections=500", "start")


def pg_silent(server, store):
    """every connection to PostgreSQL dies without a word"""
    store.line.cut()


def pg_read_only(server, store):
    """PostgreSQL can only be read for two seconds"""
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    store.sql(f"ALTER DATABASE {store.database} SET default_transaction_read_only = on", database="postgres")
    store.sql(end)
    time.sleep(2)
    store.sql(f"ALTER DATABASE {store.database} RESET default_transaction_read_only", database="postgres")
    store.sql(end)


SQLITE = {"kill": kill, "stop": stop, "pause": pause, "disk": disk, "lock": lock, "file": file}
POSTGRES = {
    "pg-kill": kill,
    "pg-restart": pg_restart,
    "pg-stop": pg_stop,
    "pg-silent": pg_silent,
    "pg-read-only": pg_read_only,
}
