"""The stores that hold the backlogs, each a server of its own on a free port, and what they have left of one."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from commands import Failed, debian, tell

# What is waiting, running and failed; one script, so that nothing moves while it is counted.
COUNTS = """
local function n(command, ...)
    local sum = 0
    for _, key in ipairs({...}) do sum = sum + redis.call(command, key) end
    return sum
end
return {%s, %s, %s}
"""


class Redis:
    """Just enough of a client."""

    def __init__(self, port):
        url = f"redis://127.0.0.1:{port}"
        self.env = {"REDIS_URL": url, "KILN_STORE": url}
        self.stream = socket.create_connection(("127.0.0.1", port)).makefile("rwb")

    def __call__(self, *words):
        self.stream.write(b"*%d\r\n" % len(words))
        for word in (str(word).encode() for word in words):
            self.stream.write(b"$%d\r\n%s\r\n" % (len(word), word))
        self.stream.flush()
        return self.answer()

    def answer(self):
        line = self.stream.readline()[:-2]
        kind, rest = line[:1], line[1:].decode()
        match kind:
            case b":":
                return int(rest)
            case b"*":
                return [self.answer() for _ in range(int(rest))]
            case b"$":
                return self.stream.read(int(rest) + 2)[:-2].decode()
            case b"+":
                return rest
        raise Failed(f"Redis: {rest or 'gone'}")

    def clear(self):
        self("FLUSHALL")

    def counts(self, system, begun):
        return self("EVAL", COUNTS % (system.waiting, system.running, system.failed), 0)

    def version(self):
        return f"Redis {self('INFO', 'server').split('redis_version:')[1].split()[0]}"


class Postgres:
    """The client that comes with it, kept open."""

    def __init__(self, port):
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        self.env = {"DATABASE_URL": url}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        # Quiet, without settings of whoever runs it, and an end at the first error.
        options = ["-XAtqF,", "--set", "ON_ERROR_STOP=1"]
        self.client = subprocess.Popen([postgres_folder() / "psql", *options, url], **pipes)

    def __call__(self, query):
        """The one row that a query answers with."""
        self.client.stdin.write(f"{query};\n")
        if not (row := self.client.stdout.readline()):
            raise Failed(f"PostgreSQL does not answer: {query}")
        return row.strip().split(",")

    def clear(self):
        self("SET client_min_messages = error; DROP SCHEMA IF EXISTS graphile_worker CASCADE; SELECT 1")

    def counts(self, system, begun):
        """Once jobs have run, whether one is left: to count them every 10 ms would be work for both cores."""
        if begun:
            return [int(self(f"SELECT count(*) FROM (SELECT FROM {system.table} LIMIT 1) AS job")[0]), 0, 0]
        counts = [f"count(*) FILTER (WHERE {jobs})" for jobs in [system.waiting, system.running, system.failed]]
        return list(map(int, self(f"SELECT {', '.join(counts)} FROM {system.table}")))

    def version(self):
        return f"PostgreSQL {self('SHOW server_version')[0].split()[0]}"


@contextmanager
def redis_server():
    """A Redis that keeps nothing."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen(["redis-server", "--port", str(port), *options], stdout=subprocess.DEVNULL)
        try:
            yield connect(port)
        finally:
            server.terminate()
            server.wait()


@contextmanager
def postgres_server():
    """A PostgreSQL with its default settings: what it has committed is on the disk."""
    port, programs = free_port(), postgres_folder()
    with tempfile.TemporaryDirectory() as folder:
        options = {"cwd": folder}
        if os.geteuid() == 0:  # as whom it refuses to run
            shutil.chown(folder, "postgres", "postgres")
            options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        create = ["--auth", "trust", "--username", "postgres", "--no-instructions"]
        tell([programs / "initdb", *create, folder], **options)
        control = [programs / "pg_ctl", "--wait", "--pgdata", folder]
        listen = f"-h 127.0.0.1 -p {port} -k {folder}"
        tell([*control, "--log", f"{folder}/log", "--options", listen, "start"], **options)
        try:
            yield (postgres := Postgres(port))
            postgres.client.stdin.close()
            postgres.client.wait()
        finally:
            tell([*control, "--mode", "fast", "stop"], **options)


STORES = {"redis": redis_server, "postgres": postgres_server}


def postgres_folder():
    """Where Debian has PostgreSQL's programs, which are not in the PATH."""
    if not (found := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        debian("postgresql")
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    for _ in range(100):
        try:
            return Redis(port)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("redis-server does not start")
