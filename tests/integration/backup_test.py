#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Back-up and restore as docs/backup-restore.md tells it: the data folder of `xin
serve` copied while it works, and PostgreSQL with the objects of a cluster. After
the restore every document, conversation, generation and key is there, searches
answer, and nothing is read a second time. The cluster's half is skipped by name
where its servers cannot be had."""
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import postgres_server  # noqa: E402
from cluster import ADMIN, BINARY, ROOT, Cluster, Missing, Role  # noqa: E402

FACTS = {"jacket": "You can return a jacket within 30 days.",
         "parking": "Parking costs seven euros a day.",
         "wifi": "The guest network is called Heron."}
QUESTION = "How much does parking cost?"
BRANDS = ("alpha", "beta")


def pages(xin, path):
    """All items of a list of the API."""
    items, cursor = [], ""
    while True:
        status, page = xin.ask("GET", f"{path}?limit=100{cursor}")
        assert status == 200, page
        items += page["items"]
        if not page.get("next_cursor"):
            return items
        cursor = "&cursor=" + page["next_cursor"]


def rows(xin, settled=True):
    """Everything that a restore must bring back, as the API shows it. Documents
    that were still read when the copy was made move on, and are left out."""
    found = {"scripts": xin.ask("GET", "/v1/scripts")[1]["active"]["hash"],
             "keys": sorted(key["id"] for key in pages(xin, "/v1/keys"))}
    for brand in BRANDS:
        base = f"/v1/brands/{brand}"
        found[brand, "documents"] = {
            source["id"]: source for source in pages(xin, base + "/knowledge")
            if not settled or source["status"] == "ready"}
        found[brand, "conversations"] = {
            conversation["id"]: pages(xin, f"{base}/conversations/{conversation['id']}/messages")
            for conversation in pages(xin, base + "/conversations")}
    return found


def fill(xin, ready):
    """Two brands with documents and a conversation, a second generation, a key."""
    sources = [ready(brand, f"{name}.md", f"# {name}\n\n{text}\n")
               for brand in BRANDS for name, text in FACTS.items()]
    for brand in BRANDS:
        for message in (QUESTION, "Within how many days can I return a jacket?"):
            status, answer = xin.turn(brand, message)
            assert status == 200 and answer["citations"], answer
    before = xin.ask("GET", "/v1/scripts")[1]["active"]["hash"]
    path = xin.home / "lua/brands/alpha.lua"
    xin.script("brands/alpha.lua", path.read_text() + "\n-- a second generation\n")
    until = time.monotonic() + 20
    while xin.ask("GET", "/v1/scripts")[1]["active"]["hash"] == before:
        assert time.monotonic() < until, "no second generation"
        time.sleep(0.1)
    status, key = xin.ask("POST", "/v1/keys", {"name": "robot", "scopes": ["turns:alpha"]})
    assert status == 201, key
    return sources, key["key"]


def same(test, before, after):
    for what, value in before.items():
        if isinstance(value, dict):
            for key, row in value.items():
                test.assertEqual(row, after[what].get(key), (what, key))
        elif what == "keys":
            test.assertLessEqual(set(value), set(after[what]))
        else:
            test.assertEqual(value, after[what], what)


def key_still_opens(test, xin, key):
    status, answer = xin.ask("POST", "/v1/brands/alpha/turns",
                             {"message": QUESTION, "user": {"id": "robot"}},
                             {"Authorization": "Bearer " + key})
    test.assertEqual(status, 200, answer)
    test.assertIn("seven", answer["reply"])


def read_again(xin, sources):
    """Documents of `sources` that this process has worked on."""
    ids = {source["id"] for source in sources}
    return [event for event in xin.events()
            if event.get("document_id") in ids or event.get("source_id") in ids]


def xin_command(*words, **settings):
    return subprocess.run([str(BINARY), *words], env={"PATH": os.environ["PATH"], **settings},
                          cwd="/", capture_output=True, text=True, timeout=120, check=False)


class Embedded(unittest.TestCase):
    def setUp(self):
        self.xin = Role("serve", XIN_ADMIN_KEY=ADMIN, XIN_AUTH="keys", XIN_SCRIPT_POLL_MS="200",
                        GATEWAY_WEBHOOK_SECRET="backup-secret",
                        XIN_LEASE_MS="3000").start()  # the copy's leases must run out first
        self.addCleanup(self.xin.stop)
        self.kept = pathlib.Path(self.xin.home) / "kept"
        self.data = {"XIN_DATA_DIR": str(self.xin.home / "data")}

    def restored(self, folder):
        other = Role("serve", **self.xin.settings)
        self.addCleanup(other.stop)
        shutil.copytree(folder, other.home / "data")
        shutil.rmtree(other.home / "lua")
        shutil.copytree(self.xin.home / "lua", other.home / "lua")
        return other.start()

    def test_a_copy_made_under_load_has_everything(self):
        sources, key = fill(self.xin, self.xin.ready)
        before = rows(self.xin)
        stop, counts = threading.Event(), {"uploads": 0, "turns": 0}

        def load(kind, call):
            while not stop.is_set():
                status, answer = call(counts[kind])
                assert status in (200, 202), (status, answer)
                counts[kind] += 1
                time.sleep(0.03)  # the copy's backlog has to be read as well

        threads = [threading.Thread(target=load, args=pair) for pair in (
            ("uploads", lambda n: self.xin.upload("beta", f"more-{n}.md", f"# More {n}\n\nText.")),
            ("turns", lambda n: self.xin.turn("beta", QUESTION, user={"id": f"u{n}"})))]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        done = xin_command("backup", str(self.kept), **self.data)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("objects", done.stdout)
        self.assertTrue(counts["uploads"] and counts["turns"], counts)

        other = self.restored(self.kept)
        same(self, before, rows(other))
        key_still_opens(self, other, key)
        self.assertEqual(read_again(other, sources), [])
        # What was under way goes on, and each document is there once.
        until = time.monotonic() + 60
        while True:
            now = rows(other, settled=False)["beta", "documents"].values()
            if all(source["status"] == "ready" for source in now):
                break
            self.assertLess(time.monotonic(), until, "documents under way did not end")
            time.sleep(0.2)
        titles = [source["title"] for source in now]
        self.assertEqual(len(titles), len(set(titles)))
        self.assertGreater(len(titles), len(FACTS))
        # Its object is there: reading a document anew needs it.
        status, answer = other.ask(
            "POST", f"/v1/brands/alpha/knowledge/{sources[0]['id']}/reindex")
        self.assertIn(status, (200, 202), answer)
        other.until_ready("alpha", sources[0]["id"])

    def test_a_cold_copy_has_everything(self):
        sources, key = fill(self.xin, self.xin.ready)
        before = rows(self.xin)
        self.xin.stop_quietly()
        self.assertEqual(self.xin.process.returncode, 0)
        other = self.restored(self.xin.home / "data")
        same(self, before, rows(other))
        key_still_opens(self, other, key)
        self.assertEqual(read_again(other, sources), [])

    def test_a_copy_is_whole_or_not_there(self):
        done = xin_command("backup", str(self.kept), **self.data)
        self.assertEqual(done.returncode, 0, done.stderr)
        again = xin_command("backup", str(self.kept), **self.data)
        self.assertEqual(again.returncode, 1)
        self.assertIn("new or an empty folder", again.stderr)
        left = self.kept.with_name("half")
        left.with_name("half.partial").mkdir()
        refused = xin_command("backup", str(left), **self.data)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("did not end", refused.stderr)
        nothing = xin_command("backup", str(left), XIN_DATA_DIR=str(self.xin.home / "nowhere"))
        self.assertEqual(nothing.returncode, 1)
        self.assertIn("there is no database", nothing.stderr)
        self.assertFalse(left.exists())

    def test_postgresql_is_sent_to_its_own_tool(self):
        done = xin_command("backup", str(self.kept), XIN_STORE_URL="postgres://h/db")
        self.assertEqual(done.returncode, 1)
        self.assertIn("pg_dump", done.stderr)


class InACluster(unittest.TestCase):
    def start(self, cluster, **settings):
        xin = cluster.role("orchestrator", **settings)
        worker = cluster.role("worker", **settings)
        return xin, worker

    def test_database_and_objects_come_back(self):
        try:
            first = Cluster()
        except Missing as missing:
            self.skipTest(str(missing))
        self.addCleanup(first.close)
        xin, _ = self.start(first)
        sources, key = fill(xin, xin.ready)
        before = rows(xin)
        dump = first.folder / "xin.dump"
        subprocess.run([postgres_server.binary("pg_dump"), "--format=custom", "--no-owner",
                        f"--file={dump}", first.postgres.tcp_url], check=True)
        second = Cluster()
        self.addCleanup(second.close)
        subprocess.run([postgres_server.binary("pg_restore"), "--clean", "--if-exists",
                        "--no-owner", "--single-transaction", "--exit-on-error",
                        f"--dbname={second.postgres.tcp_url}", str(dump)], check=True)
        for name in ("objects", "sidecar"):
            shutil.copytree(first.folder / name, second.folder / name, dirs_exist_ok=True)
        shutil.copytree(ROOT / "lua", second.folder / "lua")
        shutil.copy(xin.home / "lua/brands/alpha.lua", second.folder / "lua/brands/alpha.lua")
        scripts = {"XIN_LUA_DIR": str(second.folder / "lua")}

        # The vector server was kept (or restored from its own snapshot).
        kept = {"XIN_SEARCH_URL": first.settings["XIN_SEARCH_URL"]}
        xin, worker = self.start(second, **scripts, **kept)
        same(self, before, rows(xin))
        key_still_opens(self, xin, key)
        time.sleep(2)  # longer than a reaper's round
        self.assertEqual(read_again(worker, sources), [])
        for role in (xin, worker):
            role.stop_quietly()

        # It was lost: the documents are put there again from their objects.
        xin, worker = self.start(second, **scripts)
        self.assertEqual(xin.turn("alpha", QUESTION)[1]["citations"], [])
        for source in sources[:len(FACTS)]:
            status, answer = xin.ask("POST", f"/v1/brands/alpha/knowledge/{source['id']}/reindex")
            self.assertIn(status, (200, 202), answer)
        for source in sources[:len(FACTS)]:
            xin.until_ready("alpha", source["id"])
        key_still_opens(self, xin, key)
        self.assertEqual(len(pages(xin, "/v1/brands/alpha/knowledge")), len(FACTS))


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
