"""Other programs: installed, asked, started and stopped."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path.home() / ".cache/kiln-peers"  # not in Kiln's own, which removes what it does not know
STOP_MAX_S = 30
COMMAND_MAX_S = 900


class Failed(Exception):
    """What a system could not do, for a person."""


@contextmanager
def started(processes, command, env):
    """Workers, and the file with what they say."""
    workers = []
    with tempfile.TemporaryFile() as log:
        try:
            for _ in range(processes):
                workers.append(subprocess.Popen(command, env=os.environ | env, stdout=log, stderr=log))
            yield workers, log
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                try:
                    worker.wait(STOP_MAX_S)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()


@contextmanager
def cached(name, pins):
    """The folder for what a file pins, and whether it is still to be filled."""
    digest = hashlib.sha256((HERE / name / pins).read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    complete = folder / "complete"
    empty = not complete.exists()
    if empty:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    yield folder, empty
    complete.touch()


def tell(command, env={}, **options):
    """What a command prints."""
    command = list(map(str, command))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    try:
        done = subprocess.run(command, env=os.environ | env, timeout=COMMAND_MAX_S, **pipes, **options)
    except FileNotFoundError as err:
        raise Failed(f"not installed: {err.filename}") from err
    if done.returncode:
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout.strip()


def debian(*packages):
    """Installs packages of Debian."""
    tell(["apt-get", "update"])
    tell(["apt-get", "install", "--yes", *packages], {"DEBIAN_FRONTEND": "noninteractive"})


def say(text):
    if text:
        print(text, file=sys.stderr, flush=True)
