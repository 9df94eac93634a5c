"""RQ: `python jobs.py push N` pushes N jobs that do nothing, `python jobs.py work` runs them.

Fair, because it has the C parser for Redis, keeps no results, logs no line for each job, and runs them in SimpleWorker,
in its own process: the worker that RQ starts by default forks for each job. RQ has one job at a time in a process and
asks Redis some 27 times for each, so that round trips rule.
"""

import os
import sys

from redis import Redis
from rq import Queue, SimpleWorker


def nothing(payload):
    pass


if __name__ == "__main__":
    queue = Queue("bench", connection=Redis.from_url(os.environ["REDIS_URL"]))
    if sys.argv[1] == "push":
        payload = {"to": "x" * 391}  # 400 bytes of JSON
        job = Queue.prepare_data("jobs.nothing", (payload,), result_ttl=0)  # jobs: this file, as a worker imports it
        for left in range(int(sys.argv[2]), 0, -1000):
            queue.enqueue_many([job] * min(left, 1000))
    else:
        SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="WARNING")
