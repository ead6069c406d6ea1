#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shared queue beside Python's arq on the same Redis, one after the other in one run:
jobs enqueued and jobs processed in a second, and their ratio. The functions do nothing.

queue_bench.py [--build FOLDER] [--jobs N]      exit 77: redis-server or arq cannot be had"""
import argparse
import asyncio
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from redis_server import ROOT, RedisServer, python_with_arq  # noqa: E402

AT_ONCE = 32  # producers, and jobs that run at the same time


async def python_side(port, count):
    from arq.connections import RedisSettings, create_pool
    from arq.worker import Worker, func

    async def echo(ctx, **kwargs):
        return kwargs

    pool = await create_pool(RedisSettings(port=port))
    await pool.flushall()
    numbers = iter(range(count))

    async def producer():
        for n in numbers:
            await pool.enqueue_job("echo", brand_id=f"b{n % 5}", n=n)

    began = time.monotonic()
    await asyncio.gather(*(producer() for _ in range(AT_ONCE)))
    put = count / (time.monotonic() - began)
    worker = Worker([func(echo, name="echo")], redis_settings=RedisSettings(port=port), burst=True,
                    handle_signals=False, max_jobs=AT_ONCE, poll_delay=0.01)
    began = time.monotonic()
    await worker.main()
    ran = count / (time.monotonic() - began)
    assert worker.jobs_complete == count, worker.jobs_complete
    await worker.close()
    await pool.flushall()
    await pool.aclose()
    return put, ran


def our_side(build, settings, count):
    program = ROOT / build / "tests" / "queue_worker"
    environment = {**os.environ, **settings}

    def rate(*words):
        out = subprocess.run([program, *map(str, words)], env=environment, check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        return count / float(out.split()[-1])

    return rate("put", count, AT_ONCE, "bench-", "echo"), rate("drain", count, AT_ONCE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--jobs", type=int, default=5000)
    arguments = parser.parse_args()
    if not RedisServer.have():
        print("redis-server cannot be had here: skipped")
        sys.exit(77)
    python_with_arq(arguments.build)
    server = RedisServer()
    try:
        theirs = asyncio.run(python_side(server.port, arguments.jobs))
        ours = our_side(arguments.build, server.settings, arguments.jobs)
    finally:
        server.stop()
    print(f"{'':12}{'arq':>12}{'ours':>12}{'ratio':>8}   jobs a second, {arguments.jobs} jobs")
    for name, a, b in zip(("enqueued", "processed"), theirs, ours):
        print(f"{name:12}{a:12.0f}{b:12.0f}{b / a:8.1f}")


if __name__ == "__main__":
    main()
