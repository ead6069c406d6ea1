#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shared queue beside Python's own arq, from its package: jobs of both serializers,
workers of both languages on one queue, results and statuses read by Python's client.

arq_test.py [--jobs N] [--build FOLDER] [--only WORDS]      exit 77: redis-server or arq cannot be had"""
import argparse
import asyncio
import collections
import datetime
import json
import logging
import os
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from redis_server import ROOT, RedisServer, python_with_arq  # noqa: E402

BRANDS = [f"b{i}" for i in range(5)]


def sniff(data):
    return json.loads(data) if data[:1] == b"{" else pickle.loads(data)


def to_json(value):
    return json.dumps(value, default=str).encode()


class Evil:
    def __reduce__(self):
        return (os.system, ("touch " + str(self.mark),))


class Workers:
    """Our workers: processes whose stdout says what they ran."""

    def __init__(self, build, settings):
        self.program = ROOT / build / "tests" / "queue_worker"
        self.settings = settings
        self.processes = []

    def start(self, count, takers=4, ms=0, **settings):
        for _ in range(count):
            self.processes.append(subprocess.Popen(
                [self.program, "work", str(takers), str(ms)], env={**os.environ, **self.settings, **settings},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    def stop(self):
        """What they ran: [(process, id, attempt)], and that they ended in peace."""
        ran = []
        for number, process in enumerate(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
            assert process.returncode in (0, -signal.SIGKILL), (process.returncode, err)
            assert "Sanitizer" not in err and "runtime error" not in err, err
            ran += [(number, *line.split()[1:3]) for line in out.splitlines()
                    if line.startswith("ran ")]
            if err:
                print(err, end="")
        self.processes = []
        return ran

    def put(self, count, prefix, **settings):
        subprocess.run([self.program, "put", str(count), "8", prefix, "echo"], check=True,
                       env={**os.environ, **self.settings, **settings}, stdout=subprocess.DEVNULL)


class Suite:
    def __init__(self, arguments):
        from arq.connections import RedisSettings, create_pool
        self.arguments = arguments
        self.server = RedisServer()
        self.workers = Workers(arguments.build, self.server.settings)
        self.redis_settings = RedisSettings(port=self.server.port)
        self.create_pool = create_pool
        self.python_ran = collections.Counter()
        self.python = None

    async def open(self):
        logging.getLogger("arq").setLevel(logging.CRITICAL)  # failures are the test
        self.json = await self.create_pool(
            self.redis_settings, job_serializer=to_json, job_deserializer=sniff)
        self.pickle = await self.create_pool(self.redis_settings, job_deserializer=sniff)

    def python_worker(self, *more):
        from arq.worker import Worker, func

        async def echo(ctx, *args, **kwargs):
            self.python_ran[ctx["job_id"]] += 1
            await asyncio.sleep(0.01)
            return {"by": "python", "args": list(args), "kwargs": kwargs, "try": ctx["job_try"]}

        functions = [func(f, name=f.__name__) for f in (echo, *more)]
        worker = Worker(functions, redis_settings=self.redis_settings, handle_signals=False,
                        poll_delay=0.02, max_jobs=10, job_deserializer=sniff)
        self.python = (worker, asyncio.create_task(worker.async_run()))

    async def end_python(self):
        if self.python is None:
            return
        (worker, task), self.python = self.python, None
        await worker.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # ---- the tests: sentences ----

    async def mixed_jobs_run_exactly_once_in_a_mixed_fleet(self):
        count = self.arguments.jobs
        jobs = {}

        async def put(n):
            pool = random.choice((self.json, self.pickle))
            kwargs = {"brand_id": random.choice(BRANDS), "n": n, "text": "Grüße " * (n % 7),
                      "list": [n, [None, True, 1.5, {"deep": -n}]]}
            job = await pool.enqueue_job("echo", n, "x", **kwargs)
            jobs[job.job_id] = (job, n, kwargs)

        for start in range(0, count, 50):
            await asyncio.gather(*(put(n) for n in range(start, min(start + 50, count))))
        self.python_worker()
        self.workers.start(2, ms=50)
        by = collections.Counter()
        for job, n, kwargs in jobs.values():
            result = await job.result(timeout=60, poll_delay=0.02)
            assert result["args"] == [n, "x"] and result["kwargs"] == kwargs, result
            assert result["try"] == 1, result
            by[result["by"]] += 1
            assert (await job.status()).value == "complete"
        info = await job.result_info()
        assert info.success and info.function == "echo" and list(info.args) == [n, "x"]
        assert info.kwargs == kwargs and info.queue_name == "arq:queue"
        assert info.start_time <= info.finish_time and info.job_id == job.job_id
        assert await self.json.zcard("arq:queue") == 0
        await self.end_python()
        ran = collections.Counter(id for _, id, _ in self.workers.stop()) + self.python_ran
        assert set(ran) == set(jobs), "ids"
        assert set(ran.values()) == {1}, [i for i in ran.items() if i[1] != 1]
        assert by["python"] > 0 and by["c"] > 0, by
        return f"{dict(by)}"

    async def our_jobs_run_on_a_python_worker(self):
        self.python_ran.clear()
        self.workers.put(100, "ours-j")
        self.workers.put(100, "ours-p", XIN_QUEUE_FORMAT="pickle")
        assert (await self.json.get("arq:job:ours-j0"))[:1] == b"{"
        assert (await self.json.get("arq:job:ours-p0"))[:1] == b"\x80"
        pickled = pickle.loads(await self.json.get("arq:job:ours-p7"))
        assert pickled["a"] == () and pickled["k"] == {"brand_id": "b2", "n": 7}, pickled
        ttl = await self.json.pttl("arq:job:ours-j0")
        assert 86_000_000 < ttl <= 86_400_000, ttl
        queued = await self.json.queued_jobs(queue_name="arq:queue")
        assert len(queued) == 200 and all(j.function == "echo" for j in queued)
        self.python_worker()
        await self.empty()
        await self.end_python()
        assert len(self.python_ran) == 200 and set(self.python_ran.values()) == {1}

    async def empty(self, timeout=30):
        until = time.monotonic() + timeout
        while await self.json.zcard("arq:queue"):
            assert time.monotonic() < until, "the queue does not get empty"
            await asyncio.sleep(0.05)

    async def delayed_jobs_wait(self):
        self.workers.start(1)
        began = time.monotonic()
        job = await self.pickle.enqueue_job("echo", _defer_by=1.0)
        assert (await job.status()).value == "deferred"
        await asyncio.sleep(0.5)
        assert (await job.status()).value == "deferred"
        await job.result(timeout=10, poll_delay=0.02)
        assert 0.95 < time.monotonic() - began < 2.0, time.monotonic() - began
        self.workers.stop()

    async def retries_count_and_failures_reach_the_client(self):
        self.workers.start(1)
        for pool in (self.json, self.pickle):
            job = await pool.enqueue_job("again", brand_id="b1")
            result = await job.result(timeout=10, poll_delay=0.02)
            assert result["try"] == 2, result
            assert (await job.result_info()).job_try == 2
        job = await self.pickle.enqueue_job("broken", brand_id="b1")
        try:
            await job.result(timeout=10, poll_delay=0.02)
            raise AssertionError("it did not fail")
        except RuntimeError as error:
            assert str(error) == "it is broken", error
        from arq.jobs import SerializationError
        job = await self.json.enqueue_job("broken", brand_id="b1")
        try:
            await job.result(timeout=10, poll_delay=0.02)
            raise AssertionError("it did not fail")
        except SerializationError as error:
            assert "it is broken" in str(error), error
        self.workers.stop()

    async def aborted_jobs_end(self):
        self.workers.start(1, XIN_LEASE_MS="900")
        running = await self.pickle.enqueue_job("slow", ms=20000)
        while (await running.status()).value != "in_progress":
            await asyncio.sleep(0.02)
        began = time.monotonic()
        assert await running.abort(timeout=10, poll_delay=0.05) is True
        assert time.monotonic() - began < 3
        delayed = await self.pickle.enqueue_job("slow", _defer_by=3600)
        assert await delayed.abort(timeout=10, poll_delay=0.05) is True
        assert await self.json.zcard("arq:abort") == 0
        assert await self.json.zcard("arq:queue") == 0
        ran = self.workers.stop()
        assert [id for _, id, _ in ran].count(running.job_id) == 1

    async def objects_in_arguments_are_dead_letters_and_never_built(self):
        self.workers.start(1)
        mark = pathlib.Path(self.server.folder) / "pwned"
        evil = Evil()
        evil.mark = mark
        jobs = {}
        for name, value in (("datetime", datetime.datetime(2026, 1, 1)), ("posix.system", evil)):
            jobs[name] = await self.pickle.enqueue_job("echo", brand_id="b1", x=value)
        await self.json.set("arq:job:garbage", b"\x80\x04garbage")
        await self.json.zadd("arq:queue", {"garbage": int(time.time() * 1000)})
        await self.json.zadd("arq:queue", {"expired": int(time.time() * 1000)})
        for name, job in jobs.items():
            try:
                await job.result(timeout=10, poll_delay=0.02)
                raise AssertionError("it did not fail")
            except RuntimeError as error:
                assert name in str(error), error
        await self.empty()
        letters = await self.json.hgetall("xin:arq:queue:letters")
        letters = {k.decode(): json.loads(v) for k, v in letters.items()}
        for name, job in jobs.items():
            assert name in letters[job.job_id]["reason"], letters
        assert "garbage" in letters and "expired" in letters["expired"]["reason"], letters
        assert not mark.exists()
        assert not self.workers.stop()

    async def functions_of_others_are_left_to_them(self):
        async def others(ctx, when):
            return when.year

        self.workers.start(2)
        job = await self.pickle.enqueue_job("others", datetime.datetime(2031, 1, 1))
        ours = [await self.json.enqueue_job("echo", n) for n in range(20)]
        for one in ours:
            assert (await one.result(timeout=10, poll_delay=0.02))["by"] == "c"
        await asyncio.sleep(1)
        assert (await job.status()).value == "queued", await job.status()
        assert await self.json.get("arq:retry:" + job.job_id) is None
        self.python_worker(others)
        assert await job.result(timeout=10, poll_delay=0.02) == 2031
        await self.end_python()
        self.workers.stop()

    async def a_killed_workers_job_runs_again_soon(self):
        self.workers.start(1, takers=1, XIN_LEASE_MS="1000")
        job = await self.json.enqueue_job("slow", ms=1500)
        while (await job.status()).value != "in_progress":
            await asyncio.sleep(0.02)
        self.workers.processes[0].kill()
        self.workers.start(1, takers=1, XIN_LEASE_MS="1000")
        began = time.monotonic()
        result = await job.result(timeout=15, poll_delay=0.05)
        assert result["try"] == 2, result
        assert time.monotonic() - began < 5
        self.workers.stop()

    async def many_held_jobs_in_front_hide_nothing(self):
        now = int(time.time() * 1000)
        for n in range(400):
            await self.json.zadd("arq:queue", {f"held-{n}": now - 10000 + n})
            await self.json.psetex(f"arq:in-progress:held-{n}", 60000, b"1")
        self.workers.start(1)
        job = await self.json.enqueue_job("echo", 1)
        assert (await job.result(timeout=10, poll_delay=0.02))["by"] == "c"
        self.workers.stop()
        await self.json.flushall()

    async def the_health_key_is_arqs(self):
        from arq.worker import async_check_health
        self.workers.start(1)
        until = time.monotonic() + 10
        while await async_check_health(self.redis_settings) != 0:
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        text = (await self.json.get("arq:queue:health-check")).decode()
        assert "j_complete=" in text and "queued=" in text, text
        self.workers.stop()
        return text

    async def run(self):
        failed = 0
        await self.open()
        for name in [n for n in vars(Suite) if n.count("_") > 1 and not n.startswith("_")
                     and self.arguments.only in n]:
            await self.json.flushall()
            began = time.monotonic()
            try:
                note = await asyncio.wait_for(getattr(self, name)(), 180)
                print(f"ok    {name} ({time.monotonic() - began:.1f} s) {note or ''}", flush=True)
            except BaseException as error:  # noqa: BLE001
                failed += 1
                print(f"FAILED {name}: {type(error).__name__} {error}", flush=True)
                traceback.print_tb(error.__traceback__)
                await self.end_python()
                for process in self.workers.processes:
                    process.kill()
                self.workers.stop()
        await self.json.aclose()
        await self.pickle.aclose()
        return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--only", default="", help="tests whose name holds this")
    parser.add_argument("--build", default="build-debug")
    arguments = parser.parse_args()
    if not RedisServer.have():
        print("redis-server cannot be had here: skipped")
        sys.exit(77)
    python_with_arq(arguments.build)
    suite = Suite(arguments)
    try:
        failed = asyncio.run(suite.run())
    finally:
        suite.server.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
