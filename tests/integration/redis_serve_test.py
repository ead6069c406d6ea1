#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real program with its queue, limits and kv on Redis: documents become ready, Python's
client reads how the job ended and puts jobs itself, a FLUSHALL loses nothing, and without
Redis requests are answered and uploads say what is missing.

exit 77: redis-server or arq cannot be had"""
import asyncio
import os
import pathlib
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from redis_server import RedisServer, python_with_arq  # noqa: E402
from xin_process import Xin  # noqa: E402

BRAND = "default"


def wait_for(what, holds, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = holds()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


class Suite:
    def __init__(self):
        self.server = RedisServer()
        self.xin = Xin().start(**self.server.settings)
        assert self.xin.last_words() is None, self.xin.last_words()

    def upload(self, name):
        status, answer = self.xin.upload(BRAND, name, f"# {name}\n\nThe harbour opens at nine.")
        assert status in (200, 201, 202), (status, answer)
        return answer["source_id"] if "source_id" in answer else answer["id"]

    def status(self, source):
        status, answer = self.xin.ask("GET", f"/v1/brands/{BRAND}/knowledge/{source}")
        assert status == 200, (status, answer)
        return answer["status"]

    def ready(self, source, seconds=30):
        wait_for(f"{source} ready", lambda: self.status(source) == "ready", seconds)

    def python(self, work):
        async def run():
            from arq.connections import RedisSettings, create_pool
            pool = await create_pool(RedisSettings(port=self.server.port))
            try:
                return await work(pool)
            finally:
                await pool.aclose()
        return asyncio.run(run())

    # ---- the tests ----

    def a_document_becomes_ready_and_python_sees_it(self):
        source = self.upload("first.md")
        self.ready(source)

        async def look(pool):
            import json
            from arq.jobs import Job
            job = Job(f"ingest:{source}:1", pool, _deserializer=json.loads)
            await job.result(timeout=10)
            return await job.result_info()
        info = self.python(look)
        assert info.success and info.function == "ingest_source", info
        assert info.kwargs["source_id"] == source and info.kwargs["brand_id"] == BRAND, info

    def a_turn_is_answered(self):
        status, answer = self.xin.ask("POST", f"/v1/brands/{BRAND}/turns", {
            "message": "When does the harbour open?", "user": {"id": "u1"}})
        assert status == 200, (status, answer)

    def bad_jobs_of_python_are_dead_letters_with_reasons(self):
        async def put(pool):
            jobs = {
                "positional": await pool.enqueue_job("ingest_source", "kn_1"),
                "no brand": await pool.enqueue_job("ingest_source", source_id="kn_1", version=1),
                "no source": await pool.enqueue_job("ingest_source", brand_id=BRAND, version=1),
            }
            told = {}
            for name, job in jobs.items():
                try:
                    await job.result(timeout=10)
                except RuntimeError as error:
                    told[name] = str(error)
            return told
        told = self.python(put)
        assert "keyword arguments alone" in told["positional"], told
        assert "brand_id" in told["no brand"] and "source_id" in told["no source"], told
        status, answer = self.xin.ask("GET", "/v1/queue/dead")
        reasons = [letter["reason"] for letter in answer["items"]]
        assert status == 200 and set(told.values()) <= set(reasons), answer

    def python_aborts_an_ingestion(self):
        text = "\n\n".join(f"## Part {n}\n\n" + "The mill turns slowly by the river. " * 30
                           for n in range(8000))
        status, answer = self.xin.upload(BRAND, "long.md", text)
        assert status in (200, 201, 202), (status, answer)
        source = answer["source_id"] if "source_id" in answer else answer["id"]
        wait_for("processing", lambda: self.status(source) == "processing")

        async def abort(pool):
            import json
            from arq.jobs import Job, SerializationError
            try:
                await Job(f"ingest:{source}:1", pool, _deserializer=json.loads).abort(timeout=20)
            except SerializationError as error:  # what arq says with JSON
                return str(error)
        said = self.python(abort)
        assert said is not None and "Cancelled" in said, said
        wait_for("cancelled", lambda: self.status(source) == "cancelled", 10)

    def a_flushed_redis_loses_no_document(self):
        sources = []
        for n in range(20):
            sources.append(self.upload(f"flush-{n}.md"))
            if n == 10:
                self.python(lambda pool: pool.flushall())
        self.python(lambda pool: pool.flushall())
        for source in sources:
            self.ready(source, 90)

    def without_redis_turns_are_answered_and_uploads_say_why(self):
        self.server.kill()
        self.a_turn_is_answered()
        status, answer = self.xin.upload(BRAND, "later.md", "# Later\n\nThe mill closes at ten.")
        assert status == 503, (status, answer)
        said = answer["error"]["message"]
        assert f"Redis 127.0.0.1:{self.server.port}" in said, said
        self.server.start()
        began = time.monotonic()
        wait_for("ready again", lambda: all(
            s["status"] in ("ready", "cancelled") for s in self.listed()),
                 90)
        source = self.upload("after.md")
        self.ready(source)
        return f"{time.monotonic() - began:.1f} s after Redis came back"

    def listed(self):
        status, answer = self.xin.ask("GET", f"/v1/brands/{BRAND}/knowledge?limit=100")
        assert status == 200, (status, answer)
        return answer["items"] if "items" in answer else answer["sources"]

    def run(self):
        failed = 0
        for name in [n for n in vars(Suite) if n.count("_") > 1 and not n.startswith("_")]:
            began = time.monotonic()
            try:
                note = getattr(self, name)()
                print(f"ok    {name} ({time.monotonic() - began:.1f} s) {note or ''}", flush=True)
            except Exception as error:  # noqa: BLE001
                failed += 1
                print(f"FAILED {name}: {type(error).__name__} {error}", flush=True)
                traceback.print_tb(error.__traceback__)
        return failed


def main():
    if not RedisServer.have():
        print("redis-server cannot be had here: skipped")
        sys.exit(77)
    python_with_arq(pathlib.Path(os.environ.get("XIN_BINARY", "build/xin")).parent)
    suite = Suite()
    try:
        failed = suite.run()
        if failed:
            print("".join(line for line in suite.xin.logs if '"info"' not in line)[-6000:])
        suite.xin.stop()
    finally:
        suite.server.stop()
        suite.xin.kill()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
