#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job on the cluster's back ends: three processes, then two of each
role, on a real PostgreSQL, Redis and S3 server and the vector server's double.
Exit status 77: one of them cannot be had here, by name."""
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from cluster import ROOT, Cluster, Missing, Role  # noqa: E402

RETURNS = "# Returns\n\nYou can return a jacket within 30 days of delivery.\n"
QUESTION = "Within how many days can I return a jacket?"
GAMMA = """
local M = {{
  api = 1, name = "gamma", title = "Gamma", languages = {{ "en" }}, channels = {{ "webchat" }},
  guardrails = {{}}, pipeline = "standard", fallback = "f", no_answer = "none", blocked = "no",
}}
function M.route(turn)
  return {{ route = "reply", reply = "{}" }}
end
return M
"""


def at_once(*calls):
    """Run all at the same time; their results in order."""
    results = [None] * len(calls)

    def run(i, call):
        results[i] = call()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def wait(what, seconds, check):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class ThreeProcesses(unittest.TestCase):
    """Upload, chat, reload, restart: as on one machine."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)
        cls.orchestrator = cls.cluster.role("orchestrator")
        cls.worker = cls.cluster.role("worker")
        cls.gateway = cls.cluster.role("gateway", XIN_ORCHESTRATOR_URL=cls.orchestrator.url)

    def say(self, brand, message, number):
        return self.gateway.webhook({"brand": brand, "message_id": number, "text": message,
                                     "user": {"id": "u" + number}})

    def test_1_an_upload_is_answered_from_with_its_citation(self):
        source = self.orchestrator.ready("default", "returns.md", RETURNS)
        status, turn = self.orchestrator.turn("default", QUESTION)
        self.assertEqual(200, status, turn)
        self.assertIn("30 days", turn["reply"])
        self.assertEqual(source["id"], turn["citations"][0]["source_id"])
        status, answer = self.say("default", QUESTION, "m1")
        self.assertEqual(200, status, answer)
        self.assertIn("30 days", str(answer))

    def test_2_one_id_joins_the_processes(self):
        status, source = self.orchestrator.ask(
            "POST", "/v1/brands/default/knowledge", {"title": "joined.md", "content": "# Joined\n\nA line."},
            {"X-Request-ID": "joined-1"})
        self.assertEqual(202, status, source)
        self.orchestrator.until_ready("default", source["id"])
        wait("the worker's line", 10, lambda: any(
            "joined-1" in line and "document.ready" in line for line in self.worker.logs))

    def test_3_an_edit_changes_the_answers(self):
        for role in (self.orchestrator, self.gateway, self.worker):
            role.script("brands/gamma.lua", GAMMA.format("first"))
        wait("the new brand", 10, lambda: self.orchestrator.turn("gamma", "hi")[0] == 200)
        self.assertEqual("first", self.orchestrator.turn("gamma", "hi")[1]["reply"])
        self.orchestrator.script("brands/gamma.lua", GAMMA.format("second"))
        wait("the edit", 10, lambda: self.orchestrator.turn("gamma", "hi")[1]["reply"] == "second")

    def test_4_a_restart_of_each_keeps_everything(self):
        _, before = self.orchestrator.turn("default", QUESTION, user={"id": "keeper"})
        for role in (self.worker, self.orchestrator, self.gateway):
            role.process.terminate()
            self.assertEqual(0, role.process.wait(40), role.last_words())
        self.orchestrator.start()
        self.worker.start()
        self.gateway.start(XIN_ORCHESTRATOR_URL=self.orchestrator.url)
        status, after = self.orchestrator.turn("default", QUESTION, user={"id": "keeper"})
        self.assertEqual(200, status, after)
        self.assertEqual(before["reply"], after["reply"])
        self.assertEqual(before["conversation_id"], after["conversation_id"])
        self.assertEqual(200, self.say("default", QUESTION, "m2")[0])
        self.orchestrator.ready("default", "later.md", "# Later\n\nThe shop opens at nine.\n")

    def test_5_the_row_is_there_for_sql(self):
        psql = subprocess.run(
            ["psql", self.cluster.postgres.tcp_url, "-Atc",
             "SELECT status, count(*) FROM knowledge_sources GROUP BY status"],
            capture_output=True, text=True, check=True)
        self.assertRegex(psql.stdout, r"ready\|\d+")

    def test_6_doctor_finds_everything_well(self):
        said = self.cluster.command("doctor")
        for name in ("store", "queue", "objects", "search", "model"):
            self.assertRegex(said.stdout, rf"(?m)^ok +{name} ")
        self.assertIn("PostgreSQL", said.stdout)
        self.assertIn("Redis", said.stdout)

    def test_7_doctor_names_what_is_wrong(self):
        said = self.cluster.command("doctor", check=False, STORAGE_SECRET_KEY="wrong",
                                    INGEST_REDIS_PASSWORD="wrong", QDRANT_API_KEY="wrong",
                                    XIN_STORE_URL=self.cluster.postgres.tcp_url.replace("se%25cret", "no"))
        self.assertEqual(1, said.returncode)
        for name, setting in (("store", "XIN_STORE_URL|password"), ("queue", "INGEST_REDIS_PASSWORD|password"),
                              ("objects", "STORAGE_SECRET_KEY"), ("search", "QDRANT_API_KEY")):
            line = re.search(rf"(?m)^FAIL +{name} .*(\n +->.*)?", said.stdout)
            self.assertTrue(line, f"{name}: {said.stdout}")
            self.assertRegex(line.group(0), setting)
        for secret in ("redis-secret", "vector-secret", "cluster-storage-secret", "se%25cret"):
            self.assertNotIn(secret, said.stdout + said.stderr)

    def test_8_a_role_names_every_setting_that_it_misses(self):
        said = self.cluster.command("worker", check=False, XIN_STORE_URL="", INGEST_REDIS_HOST="",
                                    STORAGE_ENDPOINT_URL="", STORAGE_ACCESS_KEY="",
                                    STORAGE_SECRET_KEY="", STORAGE_BUCKET="", XIN_SEARCH_URL="")
        self.assertEqual(1, said.returncode)
        for name in ("XIN_STORE_URL", "INGEST_REDIS_HOST", "STORAGE_ENDPOINT_URL", "XIN_SEARCH_URL"):
            self.assertIn(name, said.stdout)


    def test_9_the_example_of_settings_names_what_is_known(self):
        known = set(re.findall(r"(?m)^([A-Z][A-Z0-9_]+)$", self.cluster.command("help", "settings").stdout))
        named = set(re.findall(r"(?m)^#([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text()))
        self.assertEqual(set(), named - known)
        for name in ("STORAGE_ENDPOINT_URL", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY",
                     "STORAGE_REGION", "STORAGE_BUCKET", "INGEST_REDIS_HOST", "INGEST_REDIS_PORT",
                     "INGEST_REDIS_DB", "INGEST_REDIS_QUEUE_NAME"):
            self.assertIn(name, named)


class QueueSettings(unittest.TestCase):
    """Orchestrator and worker must mean the same queue; who reads none is told."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(INGEST_REDIS_DB="3", INGEST_REDIS_QUEUE_NAME="other:queue")
        cls.addClassCleanup(cls.cluster.close)

    def orchestrator(self, env_file=None, **settings):
        role = Role("orchestrator", **(self.cluster.settings | settings))
        self.cluster.roles.append(role)
        if env_file is not None:
            for name in list(env_file):
                role.settings.pop(name, None)
            (role.home / ".env").write_text("".join(f"{n}={v}\n" for n, v in env_file.items()))
        return role.start()

    def redis(self, *words):
        done = subprocess.run(["redis-cli", "-p", str(self.cluster.redis.port), "-n", "3", *words],
                              env={"REDISCLI_AUTH": "redis-secret", "PATH": os.environ["PATH"]},
                              capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def test_1_the_env_file_and_the_environment_lead_to_one_queue(self):
        names = ("INGEST_REDIS_HOST", "INGEST_REDIS_PORT", "INGEST_REDIS_DB", "INGEST_REDIS_QUEUE_NAME")
        mirror = {name: self.cluster.settings[name] for name in names}
        from_file = self.orchestrator(env_file=mirror)
        status, source = from_file.upload("default", "file.md", "# From the file\n\nA line.\n")
        self.assertEqual(202, status, source)
        self.assertEqual("1", self.redis("ZCARD", "other:queue"))
        worker = self.cluster.role("worker")
        from_file.until_ready("default", source["id"])
        worker.kill()
        self.redis("DEL", "other:queue")
        # The environment wins over the file.
        wins = self.orchestrator(env_file=mirror | {"XIN_LOG_LEVEL": "debug"},
                                 INGEST_REDIS_QUEUE_NAME="x")
        wins.kill()
        wins.settings["INGEST_REDIS_QUEUE_NAME"] = "third:queue"
        wins.start()
        wins.upload("default", "third.md", "# Third\n\nA line.\n")
        self.assertEqual("1", self.redis("ZCARD", "third:queue"))

    def test_2_a_queue_that_nobody_reads_is_told_within_a_minute(self):
        role = self.orchestrator(INGEST_REDIS_QUEUE_NAME="lonely:queue")
        _, source = role.upload("default", "lonely.md", "# Lonely\n\nNobody reads this.\n")
        wait("explain to say that nobody reads the queue", 60, lambda: (role.ask(
            "GET", f"/v1/brands/default/knowledge/{source['id']}")[1]["waiting_on"] or {}
        ).get("reason") == "no_worker")
        # A worker on another queue finds the row all the same: it is the truth.
        self.cluster.role("worker", INGEST_REDIS_QUEUE_NAME="somewhere:else")
        role.until_ready("default", source["id"])

    def test_3_an_upload_says_that_redis_is_away(self):
        role = self.orchestrator()
        self.cluster.redis.kill()
        try:
            status, answer = role.upload("default", "away.md", "# Away\n\nA line.\n")
            self.assertEqual(503, status, answer)
            self.assertIn("Redis", answer["error"]["message"])
            self.assertIn(str(self.cluster.redis.port), answer["error"]["message"])
        finally:
            self.cluster.redis.start()


class TwoOfEach(unittest.TestCase):
    """Limits, copies, order and scripts hold across replicas."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(XIN_USER_TURNS_PER_MINUTE="6")
        cls.addClassCleanup(cls.cluster.close)
        cls.orchestrators = [cls.cluster.role("orchestrator") for _ in range(2)]
        cls.gateways = [cls.cluster.role("gateway", XIN_ORCHESTRATOR_URL=o.url)
                        for o in cls.orchestrators]
        cls.worker = cls.cluster.role("worker")

    def test_a_users_rate_is_one_for_all(self):
        statuses = [self.orchestrators[i % 2].turn("default", "hello", user={"id": "hasty"})[0]
                    for i in range(12)]
        self.assertEqual(6, statuses.count(200), statuses)
        self.assertEqual(6, statuses.count(429), statuses)

    def test_copies_of_a_message_run_once(self):
        for number in range(10):
            body = {"brand": "default", "message_id": f"copy-{number}", "text": "hello",
                    "user": {"id": f"copier{number}"}}
            answers = at_once(*[lambda g=g: g.webhook(body) for g in self.gateways * 2])
            self.assertEqual([200] * 4, [status for status, _ in answers], answers)
            self.assertEqual(1, len({answer["turn_id"] for _, answer in answers}), answers)
            self.assertEqual(1, len({answer["reply"]["text"] for _, answer in answers}), answers)
            self.assertEqual(1, [answer["duplicate"] for _, answer in answers].count(False), answers)
            _, open_ones = self.orchestrators[0].ask(
                "GET", f"/v1/brands/default/conversations?user_id=copier{number}")
            self.assertEqual(2, open_ones["items"][0]["messages"], open_ones)

    def test_messages_of_a_conversation_run_one_after_the_other(self):
        _, first = self.orchestrators[0].turn("default", "hello", user={"id": "talker0"})
        conversation = first["conversation_id"]
        # Six a minute: this user's rate.
        answers = at_once(*[
            lambda o=o: o.turn("default", "thanks", user={"id": "talker0"}, conversation_id=conversation)
            for o in self.orchestrators * 2])
        self.assertEqual([200] * 4, [status for status, _ in answers], answers)
        _, messages = self.orchestrators[1].ask(
            "GET", f"/v1/brands/default/conversations/{conversation}/messages?limit=50")
        roles = [message["role"] for message in messages["items"]]
        self.assertEqual(["user", "assistant"] * 5, roles)

    def test_a_replica_boots_with_the_last_good_scripts(self):
        role = Role("orchestrator", **self.cluster.settings)
        self.cluster.roles.append(role)
        (role.home / "lua" / "brands" / "default.lua").write_text("function (")
        role.start()
        status, turn = role.turn("default", "hello", user={"id": "late"})
        self.assertEqual(200, status, turn)
        _, other = self.orchestrators[0].turn("default", "hello", user={"id": "late2"})
        self.assertEqual(other["generation"], turn["generation"])
        _, scripts = role.ask("GET", "/v1/scripts")
        self.assertEqual("rejected", scripts["last_attempt"]["result"])

    def test_an_upload_at_both_becomes_one_source(self):
        text = "# Twins\n\nBoth replicas got this at once.\n"
        answers = at_once(*[lambda o=o: o.upload("default", "twins.md", text)
                            for o in self.orchestrators * 2])
        self.assertEqual(1, len({source["id"] for _, source in answers}), answers)
        self.orchestrators[0].until_ready("default", answers[0][1]["id"])

    def test_a_turn_is_read_at_the_other_replica(self):
        _, turn = self.orchestrators[0].turn("default", "hello", user={"id": "reader"})
        status, same = self.orchestrators[1].ask("GET", f"/v1/brands/default/turns/{turn['id']}")
        self.assertEqual(200, status)
        self.assertEqual(turn["reply"], same["reply"])


if __name__ == "__main__":
    try:
        Cluster().close()
    except Missing as missing:
        print(f"cluster_test: skipped: {missing}")
        sys.exit(77)
    unittest.main(verbosity=2, warnings="ignore")
