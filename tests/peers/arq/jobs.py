"""arq: `python jobs.py push N` pushes N jobs that do nothing, `python jobs.py work CONCURRENCY` runs them.

Fair, because it has uvloop and the C parser for Redis, keeps no results and logs no line for each job. It asks for
work in intervals, of 10 ms here instead of half a second, since it would idle in between. 10, 50 and 100 jobs at once
made no difference. Two processes often reach for the same job, which one then leaves to the other.
"""

import asyncio
import os
import sys

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
REDIS = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def nothing(ctx, payload):
    pass


async def push(count):
    pool = await create_pool(REDIS)
    payload = {"to": "x" * 391}  # 400 bytes of JSON
    for left in range(count, 0, -100):
        await asyncio.gather(*(pool.enqueue_job("nothing", payload) for _ in range(min(left, 100))))
    await pool.aclose()


if sys.argv[1] == "push":
    asyncio.run(push(int(sys.argv[2])))
else:
    Worker([nothing], redis_settings=REDIS, max_jobs=int(sys.argv[2]), poll_delay=0.01, keep_result=0).run()
