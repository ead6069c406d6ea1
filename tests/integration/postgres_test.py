#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""xin serve on PostgreSQL: documents and turns, the server killed under load and
started anew, no schema, two processes on one database. Skipped by name (77)
where there is no PostgreSQL."""
import concurrent.futures
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import postgres_server
import xin_process

DOUBLE = pathlib.Path(__file__).resolve().parents[1] / "support" / "qdrant_double.py"


def until(seconds, what, look):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class OnPostgres(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = postgres_server.Server()
        cls.addClassCleanup(cls.server.close)
        cls.double = subprocess.Popen([sys.executable, str(DOUBLE)], stdout=subprocess.PIPE,
                                      text=True)
        cls.addClassCleanup(cls.double.wait)
        cls.addClassCleanup(cls.double.stdout.close)
        cls.addClassCleanup(cls.double.kill)
        port = cls.double.stdout.readline().split()[1]
        cls.settings = {"XIN_STORE_URL": cls.server.url,
                        "XIN_SEARCH_URL": f"http://127.0.0.1:{port}"}

    def start(self, **more):
        xin = xin_process.Xin()
        self.addCleanup(xin.stop)
        xin.start(**self.settings, **more)
        self.assertIsNone(xin.last_words())
        return xin

    def psql(self, sql):
        return subprocess.run(["psql", "-qXAt", self.server.url, "-c", sql], check=True,
                              capture_output=True, text=True).stdout.strip()

    def ready(self, xin, title, content):
        status, source = xin.ask("POST", "/v1/brands/default/knowledge",
                                 {"title": title, "content": content})
        self.assertEqual(202, status, source)
        return until(20, "the document", lambda: self.is_ready(xin, source["id"]))

    @staticmethod
    def is_ready(xin, source_id):
        now = xin.ask("GET", f"/v1/brands/default/knowledge/{source_id}")[1]
        assert now["status"] != "failed", now
        return now if now["status"] == "ready" else None

    @staticmethod
    def turn(xin, message, user="u1"):
        return xin.ask("POST", "/v1/brands/default/turns",
                       {"message": message, "user": {"id": user}, "channel": "webchat"})

    def test_a_document_and_a_conversation_are_rows(self):
        xin = self.start()
        source = self.ready(xin, "Ferry", "# Ferry\n\nThe ferry leaves at nine and costs two coins.\n")
        self.assertEqual("ready", self.psql(
            f"select status from knowledge_sources where id = '{source['id']}'"))
        status, answer = self.turn(xin, "When does the ferry leave?")
        self.assertEqual(200, status, answer)
        self.assertIn("nine", str(answer))
        again = self.turn(xin, "And what does the ferry cost?")[1]
        self.assertEqual(answer["conversation_id"], again["conversation_id"])
        self.assertEqual("4", self.psql("select messages from conversations where id = "
                                        f"'{answer['conversation_id']}'"))

    def test_a_killed_server_is_said_at_once_and_the_process_goes_on(self):
        xin = self.start()
        self.assertEqual(200, self.turn(xin, "hello", "killed")[0])
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            load = [pool.submit(self.turn, xin, f"hello {n}", f"load{n % 8}") for n in range(80)]
            time.sleep(0.1)
            self.server.kill()
            statuses = {one.result()[0] for one in load}
        self.assertLessEqual(statuses, {200, 503})
        began = time.monotonic()
        status, answer = self.turn(xin, "hello", "killed")
        self.assertEqual(503, status, answer)
        self.assertEqual("unavailable", answer["error"]["code"])
        self.assertLess(time.monotonic() - began, 1)
        self.assertEqual(503, xin.ask("GET", "/health")[0])
        self.server.start()
        until(10, "a turn", lambda: self.turn(xin, "hello", "killed")[0] == 200)
        until(10, "health", lambda: xin.ask("GET", "/health")[0] == 200)
        names = [event["event"] for event in xin.events()]
        self.assertIn("store.unreachable", names)
        self.assertIn("store.reachable", names)
        self.assertNotIn(postgres_server.PASSWORD, "".join(xin.logs))
        self.assertNotIn(postgres_server.PASSWORD_IN_URL, "".join(xin.logs))

    def test_what_was_answered_with_200_is_there_after_a_kill(self):
        xin = self.start()
        kept = []
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            load = [pool.submit(self.turn, xin, f"keep {n}", f"keep{n % 4}") for n in range(60)]
            time.sleep(0.15)
            self.server.kill()
            kept = [one.result()[1]["id"] for one in load if one.result()[0] == 200]
        self.server.start()
        self.assertGreater(len(kept), 0)
        for turn_id in kept:
            self.assertEqual("1", self.psql(f"select count(*) from turns where id = '{turn_id}'"))


if __name__ == "__main__":
    try:
        postgres_server.binary("postgres")
        postgres_server.account()
    except postgres_server.Missing as why:
        print(f"postgres_test is skipped: {why}")
        sys.exit(77)
    unittest.main()
