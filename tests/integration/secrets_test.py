#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Secrets and words of users go in by every path, marked; then everything that
came out is searched for them: log, stderr, spans, metrics, the live view, other
callers' answers, `xin doctor`. Every CONFIG_SECRET of src/base/config.def has its
mark here, a new one too. And: whatever ends the program, each line of its stdout
is one JSON object. Exit status 77: something cannot be had here, by name."""
import base64
import contextlib
import gzip
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import otlp_receiver  # noqa: E402
from cluster import free_port  # noqa: E402
from marks import Marks, base64_parts, needles  # noqa: E402
from otlp_receiver import Receiver  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from xin_process import BINARY, OPENER, ROOT, Xin  # noqa: E402

SECRETS = re.findall(r'CONFIG\(\s*CFG_\w+,\s*CONFIG_SECRET,\s*"(\w+)"',
                     (ROOT / "src/base/config.def").read_text())
# What a secret must look like to be taken; all others are taken as they are.
SHAPES = {
    "XIN_STORE_URL": "postgres://xin:{}@127.0.0.1:1/xin",
    "DATABASE_URL": "postgres://xin:{}@127.0.0.1:1/xin?application_name=x",
    "XIN_ADMIN_KEY": "xin_{}" + "a" * 23, "XIN_SERVICE_KEY": "xin_{}" + "a" * 23,
    "OTEL_EXPORTER_HEADERS": "authorization=Bearer {}",
    "OTEL_EXPORTER_OTLP_HEADERS": "x-key={}", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key={}",
}
STORES = {"XIN_STORE_URL", "DATABASE_URL"}


class SelfCheck(unittest.TestCase):
    """The search finds what it must, or nothing it says is worth anything."""

    def test_a_leak_is_found_in_every_encoding_and_alignment(self):
        marks = Marks()
        mark = marks.new("the planted one")
        forms = {
            "plain": f"before {mark} after", "upper case": f"x{mark.upper()}x",
            "percent": "".join(f"%{b:02X}" for b in mark.encode()),
            "partly percent": f"a=%5{mark[0] and '1'}" + mark[1:],  # %51 is Q
            "json": "".join(f"\\u{ord(c):04X}" for c in mark),
            "partly json": "\\u0051" + mark[1:],
            "gzip": gzip.decompress(gzip.compress(mark.encode())),
        }
        for before in range(6):
            text = ("y" * before + mark + "tail").encode()
            forms[f"base64 after {before}"] = base64.b64encode(text).decode()
            forms[f"base64url after {before}"] = base64.urlsafe_b64encode(text).decode()
        for name, text in forms.items():
            found = marks.find({name: text, "empty": "nothing to see"})
            self.assertEqual([name], [leak[2] for leak in found], text)
        self.assertEqual([], marks.find({"none": "Qz0123456789abcdef01"}))

    def test_parts_of_base64_are_long_enough_to_mean_something(self):
        for part in base64_parts(b"Qz" + b"a" * 18):
            self.assertGreater(len(part), 20)
        self.assertEqual(10, len(needles("Qz" + "a" * 18)))


class Model:
    """An OpenAI-compatible service that repeats to whom it said no what it heard."""

    def __init__(self):
        model = self
        self.refuse = False
        self.asked = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                asked = json.loads(raw)
                model.asked += 1
                status, body = 200, None
                if model.refuse:
                    status = model.refuse
                    body = {"error": {"code": "invalid_api_key", "message":
                                      f"bad key {self.headers['Authorization']} for "
                                      f"{raw.decode()[-3000:]}"}}
                elif "input" in asked:
                    texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
                    body = {"model": asked["model"], "data": [
                        {"index": i, "embedding": [1.0, 0.0, 0.0, 0.0]}
                        for i in range(len(texts))]}
                else:
                    body = {"id": "c", "model": "m", "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {
                            "role": "assistant", "content": "30 days [1]"}}],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


LEAKY = """
local M = { api = 1, name = "%s", title = "Leaky", languages = { "en" },
  channels = { "webchat" }, guardrails = { %s }, pipeline = "%s" }
function M.route(turn)
  local text = turn.text
  print("heard", text, { text })
  print(text)
  xin.log.info("heard", { text = text, user = turn.user and turn.user.id or "none" })
  xin.log.warn("heard", { word = text:match("%%w+") })
  if text:find("raise plain") then error("bad " .. text) end
  if text:find("raise bare") then error(text, 0) end
  if text:find("raise table") then error({ code = "x", reason = text }) end
  if text:find("assert") then assert(false, text) end
  if text:find("index") then local t = {}; return t[text].x end
  if text:find("arith") then return text + 1 end
  if text:find("decode") then return require("cjson").decode(text) end
  if text:find("pattern") then return text:find("[" .. text) end
  if text:find("route") then return { route = text } end
  if text:find("require") then return require(text) end
  if text:find("compare") then return text < {} end
  return { route = "reply", reply = text }
end
return M
"""
GUARD = """
local M = { api = 1, name = "leaky", stages = { "input", "document" }, on_error = "%s" }
function M.check(message)
  if message.text:find("guard raises") then error("guard saw " .. message.text) end
  if message.text:find("guard blocks") then return { action = "block", reason = message.text } end
  return { action = "allow" }
end
return M
"""
STEP = """
return { api = 1, name = "leaky", run = function(document)
  error("step saw " .. tostring(document.title) .. xin.document.blocks()[1].text)
end }
"""


class Paths(unittest.TestCase):
    """One program, every path."""

    @classmethod
    def setUpClass(cls):
        cls.marks = Marks()
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)

    def setUp(self):
        self.out = {}

    def receiver(self):
        receiver = Receiver()
        self.addCleanup(receiver.close)
        return receiver

    def secret(self, name):
        return SHAPES.get(name, "{}").format(self.marks.new(name))

    def say(self, place):
        """A text of a user with everything that masks look for."""
        return (f"{self.marks.new(place)} é \"quoted\" mail {self.marks.new(place)}@example.com "
                f"line\n {self.marks.new(place)}")

    def collect(self, name, xin, receiver):
        self.out[f"{name}: stdout"] = "".join(xin.logs)
        self.out[f"{name}: stderr"] = (xin.home / "stderr").read_text(errors="replace")
        if receiver:
            self.out[f"{name}: spans"] = b"\n".join(
                gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
                for _, _, _, raw in receiver.requests)
            self.out[f"{name}: spans decoded"] = repr(receiver.spans) + json.dumps(
                [s.attributes for s in receiver.spans], default=str)

    def scrape(self, name, xin):
        for event in xin.events():
            if event.get("event") == "http.listening":
                for accept in ("text/plain", "application/openmetrics-text"):
                    with OPENER.open(urllib.request.Request(
                            f"http://127.0.0.1:{event['port']}/metrics",
                            headers={"Accept": accept})) as answer:
                        self.out[f"{name}: metrics {event['port']} {accept}"] = answer.read()

    def judge(self):
        """Nothing marked came out, and the log is what it must be."""
        leaks = list({leak[0::2][:2]: leak for leak in self.marks.find(self.out)}.values())
        for name, text in self.out.items():
            if name.endswith("stdout"):
                for line in text.splitlines():
                    json.loads(line)
        self.assertFalse(leaks, "\n\n".join(
            f"{place} came out {form} in {name}:\n{excerpt!r}"
            for place, form, name, excerpt in leaks[:30]))

    def watch(self, xin, key):
        """The live view, as it comes."""
        got = []
        request = urllib.request.Request(xin.url + "/v1/events",
                                         headers={"Authorization": f"Bearer {key}"})

        def follow():
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                with OPENER.open(request, timeout=60) as answer:
                    while chunk := answer.read1(65536):
                        got.append(chunk)
        threading.Thread(target=follow, daemon=True).start()
        time.sleep(0.3)
        return got

    def scripts(self, xin):
        for kind in ("off", "guarded", "piped"):
            (xin.home / "lua/brands" / f"leaky_{kind}.lua").write_text(LEAKY % (
                f"leaky_{kind}", '{ name = "leaky" }' if kind == "guarded" else "",
                "leaky" if kind == "piped" else "standard"))
        (xin.home / "lua/guardrails/leaky.lua").write_text(GUARD % "block")
        (xin.home / "lua/pipelines/leaky.lua").write_text(
            'return { api = 1, name = "leaky", steps = { "extract", "leaky" } }')
        (xin.home / "lua/pipelines/steps/leaky.lua").write_text(STEP)

    def raw(self, port, data):
        """Bytes that no client library would send; the answer is the caller's own."""
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.sendall(data)
            s.settimeout(3)
            with contextlib.suppress(OSError):
                s.recv(65536)

    # ---- the paths ----

    def webhooks(self, xin, secret):
        def post(body, path="/webchat/webhook", key=secret, **headers):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            signed = "sha256=" + hmac.new(key.encode(), data, hashlib.sha256).hexdigest()
            request = urllib.request.Request(xin.gateway_url + path, data, {
                "Content-Type": "application/json", "X-Signature": signed} | headers)
            with contextlib.suppress(OSError):
                OPENER.open(request, timeout=20).read()

        def message(**more):
            return {"brand": "default", "message_id": self.marks.new("message id"),
                    "text": self.say("webhook text"),
                    "user": {"id": self.marks.new("user id"), "name": self.say("user name")}} | more

        post(message())
        post(message(conversation_id=self.marks.new("conversation id")))
        post(message(brand="leaky_off", text="raise plain " + self.say("webhook script")))
        post(message(), key="wrong")
        post(message(), path=f"/webchat/{self.marks.new('brand in path')}/webhook")
        post(message(brand=self.marks.new("brand in body")))
        post(message(brand=self.say("brand in body")))
        post(message(locale=self.say("locale") * 2, attachments=[self.say("attachment")]))
        post(message(attachments=self.say("attachment")))
        post(message(user=self.say("user")))
        post(message(text=self.say("long") * 600))
        post(message() | {self.marks.new("field name"): self.say("unknown field")})
        post(b'{"text": "' + self.say("broken").encode())
        post(b'{"%s": 1, "%s": 2}' % ((self.marks.new("duplicate key").encode(),) * 2))
        post((f'{{"{(k := self.marks.new("duplicate key"))}": 1, "{k}": 2}}').encode())
        post(message(), **{"X-Xin-Timestamp": self.marks.new("timestamp header")})
        post(message(), **{"Content-Type": self.marks.new("content type") + "/x"})

    def turns(self, xin, key):
        def turn(brand, text, headers=None, **more):
            return xin.ask("POST", f"/v1/brands/{brand}/turns", {
                "message": text, "user": {"id": self.marks.new("user id")}} | more,
                {"Authorization": f"Bearer {key}"} | (headers or {}))

        for words in ("", "raise plain", "raise bare", "raise table", "assert", "index", "arith",
                      "decode", "pattern", "route", "require", "compare"):
            turn("leaky_off", f"{words} {self.say('turn ' + words)}")
        turn("leaky_off", self.marks.new("one word"))
        turn("leaky_guarded", "guard raises " + self.say("guard error"))
        turn("leaky_guarded", "guard blocks " + self.say("guard reason"))
        status, done = turn("default", self.say("turn"))
        turn("default", self.say("stream"), {"Accept": "text/event-stream"}, stream=True)
        turn("leaky_off", "raise plain " + self.say("stream error"),
             {"Accept": "text/event-stream"}, stream=True)
        turn("default", self.say("long") * 600)
        turn("default", self.say("metadata"), metadata={self.marks.new("key"): self.say("value")})
        turn("default", self.say("x"), conversation_id=self.marks.new("conversation id"))
        turn("default", self.say("x"), conversation_id=self.say("conversation id"))
        turn("default", self.say("x"), channel=self.say("channel"))
        turn("default", self.say("x"), **{self.marks.new("field"): 1})
        turn(self.marks.new("brand"), self.say("x"))
        turn("default", self.say("x"), {"Idempotency-Key": self.marks.new("idempotency key")})
        turn("default", self.say("x"), {
            "Cookie": f"session={self.marks.new('cookie')}", "Referer": self.marks.new("referer"),
            "User-Agent": self.marks.new("agent"), "X-Custom": self.marks.new("header"),
            "baggage": f"a={self.marks.new('baggage')}",
            "traceparent": self.marks.new("traceparent"),
            "X-Forwarded-For": self.marks.new("forwarded")})
        turn("default", [self.say("list")])
        if status == 200:
            path = f"/v1/brands/default/turns/{done['id']}"
            auth = {"Authorization": f"Bearer {key}"}
            for body in ({"rating": "up", "comment": self.say("feedback")},
                         {"rating": self.say("rating"), "comment": self.say("feedback")},
                         {"score": 1, "comment": self.say("feedback") * 500}):
                xin.ask("POST", path + "/feedback", body, auth)
            for more in ("", "/capsule", f"?x={self.marks.new('query')}"):
                xin.ask("GET", path + more, headers=auth)
            other = f"/v1/brands/default/conversations/{done['conversation_id']}"
            xin.ask("POST", other + "/handoff", {"reason": self.say("handoff")}, auth)
            xin.ask("POST", other + "/reset", {"reason": self.say("reset")}, auth)

    def knowledge(self, xin, key):
        auth = {"Authorization": f"Bearer {key}"}

        def upload(brand, name, text, kind="text/markdown", fields=()):
            edge = "edge" + self.marks.new("boundary")
            body = "".join(f'--{edge}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'
                           for n, v in fields)
            body += (f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
                     f"\r\nContent-Type: {kind}\r\n\r\n{text}\r\n--{edge}--\r\n")
            return xin.ask("POST", f"/v1/brands/{brand}/knowledge?wait=10", body.encode(), auth | {
                "Content-Type": f"multipart/form-data; boundary={edge}"})

        def name():
            return self.marks.new("file name") + ".md"

        def text(place):
            return f"# {self.marks.new(place)}\n\n{self.say(place)}\n"

        upload("default", name(), text("document"))
        upload("default", name(), text("document"), fields=(
            ("title", self.say("title")), ("external_id", self.marks.new("external id")),
            ("metadata", json.dumps({self.marks.new("metadata key"): self.say("metadata")}))))
        upload("default", name(), text("x"), fields=(("metadata", self.say("bad metadata")),))
        upload("default", name(), text("x"), fields=((self.marks.new("part"), self.say("part")),))
        upload("leaky_piped", name(), text("step error"))
        upload("leaky_guarded", name(), text("document guard") + "guard raises")
        upload("leaky_guarded", name(), text("document guard") + "guard blocks")
        upload("default", self.marks.new("file name") + ".pdf", "%PDF-1.4 " + text("pdf"),
               "application/pdf")
        upload("default", self.marks.new("file name") + "." + self.marks.new("suffix"),
               "\x00\x01" + text("bytes"), self.marks.new("kind") + "/x")
        upload("default", self.marks.new("file name") + ".json", '{"a": ' + text("json"))
        upload(self.marks.new("brand"), name(), text("x"))
        where = "/v1/brands/default"
        xin.ask("POST", where + "/knowledge?wait=10", {
            "title": self.say("title"), "content": text("content")}, auth)
        xin.ask("POST", where + "/knowledge", {self.marks.new("field"): self.say("x")}, auth)
        xin.ask("PUT", f"{where}/knowledge/{self.marks.new('source id')}", {
            "title": self.say("x"), "content": text("x")}, auth)
        xin.ask("POST", where + "/search", {"query": self.say("query"), "top_k": 3}, auth)
        xin.ask("POST", where + "/search", {"query": self.say("query"),
                                            "mode": self.say("mode")}, auth)
        xin.ask("POST", where + "/search", {"query": self.say("query") * 600}, auth)
        for brand in ("default", "leaky_off"):
            xin.ask("POST", f"/v1/brands/{brand}/playground", {
                "message": "raise plain " + self.say("playground"),
                "files": {"brands/x.lua": f"-- {self.marks.new('playground script')}\nerror("}}, auth)
            xin.ask("POST", f"/v1/brands/{brand}/playground",
                    {"message": "raise plain " + self.say("playground")}, auth)

    def doors(self, xin, key):
        auth = {"Authorization": f"Bearer {key}"}
        gateway = int(xin.gateway_url.rsplit(":", 1)[1])
        own = int(xin.url.rsplit(":", 1)[1])
        for wrong in (f"Bearer {self.marks.new('wrong key')}", "Bearer xin_" + (
                self.marks.new("wrong key") + "b" * 23), f"Basic {self.marks.new('basic')}",
                "Basic " + base64.b64encode(f"u:{self.marks.new('basic')}".encode()).decode(),
                self.marks.new("no scheme")):
            xin.ask("POST", "/v1/brands/default/turns", {"message": "x"}, {"Authorization": wrong})
            xin.ask("GET", "/v1/keys", headers={"Authorization": wrong})
        added = xin.ask("POST", "/v1/keys", {
            "name": self.marks.new("key name"), "scopes": ["brand:alpha"]}, auth)[1]
        if isinstance(added, dict) and "key" in added:
            self.marks.of[added["key"][4:]] = "a key that was made"
            xin.ask("GET", "/v1/keys", headers={"Authorization": f"Bearer {added['key']}"})
            xin.ask("POST", "/v1/brands/alpha/turns", {
                "message": "hi", "user": {"id": "u"}}, {"Authorization": f"Bearer {added['key']}"})
        xin.ask("POST", "/v1/keys", {"name": self.say("key name"),
                                     "scopes": [self.say("scope")]}, auth)
        xin.ask("DELETE", f"/v1/keys/{self.marks.new('key id')}", headers=auth)
        xin.ask("POST", "/v1/scripts/check", {
            "files": {"brands/a.lua": f"local x = '{self.marks.new('checked script')}' ("}}, auth)
        quoted = urllib.parse.quote(self.marks.new("path") + " é")
        for path in (f"/{quoted}", f"/v1/{quoted}", f"/v1/brands/{quoted}",
                     f"/health?key={self.marks.new('query')}",
                     f"/v1/events?brand={self.marks.new('query')}",
                     f"/v1/limits?api_key={self.marks.new('query')}",
                     f"/v1/brands/default/knowledge?cursor={self.marks.new('cursor')}",
                     f"/v1/brands/default/knowledge?status={self.marks.new('status')}",
                     f"/v1/brands/default/turns/{self.marks.new('turn id')}",
                     f"/v1/brands/default/conversations/{self.marks.new('conversation')}/messages",
                     f"/console/{self.marks.new('file')}"):
            xin.ask("GET", path, headers=auth)
            self.raw(gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        for port in (gateway, own):
            mark = self.marks.new("raw")
            for data in (f"{mark} / HTTP/1.1\r\nHost: x\r\n\r\n", f"GET /{mark} HTTP/7.7\r\n\r\n",
                         f"GET / HTTP/1.1\r\n{mark}\r\n\r\n",
                         f"GET / HTTP/1.1\r\nHost: {mark}\r\nConnection: close\r\n\r\n",
                         f"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: {mark} \x01\r\n\r\n",
                         f"POST /webchat/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {mark}\r\n\r\n",
                         f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {mark}\r\n\r\n",
                         f"GET /?{mark * 900} HTTP/1.1\r\nHost: x\r\n\r\n",
                         f"GET / HTTP/1.1\r\nHost: x\r\nA: {mark * 1800}\r\n\r\n", mark * 40):
                self.raw(port, data.encode("latin-1"))

    def others(self, name, xin, key):
        """What somebody else is told afterwards."""
        auth = {"Authorization": f"Bearer {key}"}
        for path in ("/health", "/v1/limits", "/v1/scripts", "/v1/brands", "/v1/queue/dead",
                     "/openapi.json"):
            self.out[f"{name}: {path}"] = json.dumps(xin.ask("GET", path, headers=auth)[1])
        self.out[f"{name}: a stranger"] = json.dumps([
            xin.ask("GET", path)[1] for path in ("/v1/keys", "/health", "/v1/brands/default/turns/x")])

    def doctor(self, name, xin):
        done = subprocess.run(
            [str(BINARY), "doctor"], env={**os.environ, **xin.settings, **{
                "XIN_DATA_DIR": str(xin.home / "data2"), "XIN_LUA_DIR": str(xin.home / "lua")}},
            cwd=xin.home, capture_output=True, text=True, timeout=60, check=False)
        self.out[f"{name}: doctor"] = done.stdout + done.stderr
        self.assertTrue(done.stdout or done.stderr)

    def run_all(self, name, model_says, **more):
        receiver, model = self.receiver(), Model()
        self.addCleanup(model.close)
        settings = {n: self.secret(n) for n in SECRETS if n not in STORES}
        del settings["INGEST_REDIS_PASSWORD"], settings["STORAGE_SECRET_KEY"]
        settings |= {
            "OTEL_EXPORTER_ENDPOINT": receiver.url(), "OTEL_BSP_SCHEDULE_DELAY": "100",
            "XIN_LOG_LEVEL": "debug", "XIN_LOG_REPEATS": "0", "XIN_AUTH": "keys",
            "XIN_MODEL_URL": model.url, "XIN_MODEL_NAME": "m",
            "XIN_EMBEDDINGS_URL": model.url, "XIN_EMBEDDINGS_NAME": "e",
            "XIN_EMBEDDINGS_DIMENSIONS": "4"} | more
        xin = Xin("serve", **settings)
        self.addCleanup(xin.stop)
        self.scripts(xin)
        xin.start()
        self.assertIsNone(xin.last_words())
        key = settings["XIN_ADMIN_KEY"]
        live = self.watch(xin, key)
        for status in model_says:
            model.refuse = status
            self.knowledge(xin, key)
            self.turns(xin, key)
        self.assertGreater(model.asked, 0)
        self.webhooks(xin, settings["GATEWAY_WEBHOOK_SECRET"])
        self.doors(xin, key)
        time.sleep(1.5)
        self.scrape(name, xin)
        self.others(name, xin, key)
        self.doctor(name, xin)
        self.out[f"{name}: live"] = b"".join(live)
        self.assertIn(b"turn.done", self.out[f"{name}: live"])
        xin.process.send_signal(signal.SIGSEGV)  # its last words too
        xin.process.wait(20)
        time.sleep(0.3)
        if not self.sanitized(xin):
            self.assertEqual("process.crashed", xin.events()[-1]["event"])
            self.assertEqual(-signal.SIGSEGV, xin.process.returncode)
        self.collect(name, xin, receiver)
        return receiver

    @staticmethod
    def sanitized(xin):
        return "Sanitizer" in (xin.home / "stderr").read_text(errors="replace")

    def test_nothing_marked_comes_out_of_a_whole_day(self):
        receiver = self.run_all("day", (False, 401))
        self.assertGreater(len(receiver.spans), 50)
        self.judge()

    def test_nothing_marked_comes_out_with_masked_content_in_spans(self):
        receiver = self.run_all("masked", (400,), XIN_TRACE_CONTENT="masked")
        self.assertIn("xin.content.", self.out["masked: spans decoded"])
        self.assertTrue(receiver.spans)
        self.judge()

    def test_back_ends_that_are_down_give_no_secret_away(self):
        port = str(free_port())
        cases = {
            "store": ("orchestrator", {"XIN_STORE_URL": self.secret("XIN_STORE_URL")}),
            "database": ("worker", {"DATABASE_URL": self.secret("DATABASE_URL")}),
            "store name": ("orchestrator", {
                "XIN_STORE_URL": f"postgres://u:{self.marks.new('pw')}@nowhere.invalid/x"}),
            "store text": ("serve", {"XIN_STORE_URL": self.marks.new("no URL")}),
            "store odd": ("serve", {"XIN_STORE_URL": f"postgres://u:{self.marks.new('pw')}@:x:/%%"}),
            "redis": ("serve", {"INGEST_REDIS_HOST": "127.0.0.1", "INGEST_REDIS_PORT": port,
                                "INGEST_REDIS_PASSWORD": self.secret("INGEST_REDIS_PASSWORD")}),
            "storage": ("serve", {
                "STORAGE_ENDPOINT_URL": f"http://127.0.0.1:{port}", "STORAGE_ACCESS_KEY": "a",
                "STORAGE_SECRET_KEY": self.secret("STORAGE_SECRET_KEY"),
                "STORAGE_REGION": "r", "STORAGE_BUCKET": "b"}),
            "storage url": ("serve", {
                "STORAGE_ENDPOINT_URL": f"http://u:{self.marks.new('pw')}@127.0.0.1:{port}",
                "STORAGE_ACCESS_KEY": "a", "STORAGE_SECRET_KEY": "b", "STORAGE_REGION": "r",
                "STORAGE_BUCKET": "b"}),
            "search": ("serve", {"XIN_SEARCH_URL": f"http://u:{self.marks.new('pw')}@127.0.0.1:{port}",
                                 "QDRANT_API_KEY": self.secret("QDRANT_API_KEY")}),
            "model": ("serve", {
                "XIN_MODEL_URL": f"http://u:{self.marks.new('pw')}@127.0.0.1:{port}/v1?k="
                                 + self.marks.new("query"), "XIN_MODEL_NAME": "m"}),
            "embeddings": ("serve", {
                "XIN_EMBEDDINGS_URL": f"http://u:{self.marks.new('pw')}@127.0.0.1:{port}/v1",
                "XIN_EMBEDDINGS_NAME": "m", "XIN_EMBEDDINGS_DIMENSIONS": "4"}),
            "tracing": ("serve", {
                "OTEL_EXPORTER_ENDPOINT":
                    f"http://u:{self.marks.new('pw')}@127.0.0.1:{port}/v1/traces?k="
                    + self.marks.new("query"),
                "OTEL_EXPORTER_HEADERS": self.marks.new("no pair") + ",=" + self.marks.new("none")}),
            "admin key": ("serve", {"XIN_ADMIN_KEY": self.marks.new("short key")}),
        }
        for name, (role, settings) in cases.items():
            with self.subTest(name):
                xin = Xin(role, XIN_LOG_LEVEL="debug", **settings)
                self.addCleanup(xin.stop)
                with contextlib.suppress(AssertionError):
                    xin.start(wait=4)
                if xin.url:
                    for brand in ("default", "alpha"):
                        with contextlib.suppress(OSError):
                            xin.ask("POST", f"/v1/brands/{brand}/turns", {
                                "message": self.say(f"turn, {name} down"), "user": {"id": "u"}},
                                timeout=8)
                            self.out[f"{name}: health"] = json.dumps(xin.ask("GET", "/health"))
                self.doctor(name, xin)
                xin.kill()
                time.sleep(0.2)
                self.collect(name, xin, None)
        self.judge()

    @unittest.skipUnless(RedisServer.have(), "no redis-server here")
    def test_a_wrong_password_of_redis_is_not_repeated(self):
        redis = RedisServer()
        self.addCleanup(redis.stop)
        xin = Xin("serve", XIN_LOG_LEVEL="debug",
                  INGEST_REDIS_PASSWORD=self.secret("INGEST_REDIS_PASSWORD"), **redis.settings)
        self.addCleanup(xin.stop)
        with contextlib.suppress(AssertionError):
            xin.start(wait=5)
        self.doctor("redis", xin)
        xin.kill()
        time.sleep(0.2)
        self.collect("redis", xin, None)
        self.judge()

    @classmethod
    def tearDownClass(cls):
        used = set(cls.marks.of.values())
        missing = [name for name in SECRETS if name not in used]
        assert not missing or len(sys.argv) > 1, f"secrets that no test used: {missing}"


class Lines(unittest.TestCase):
    """Every line of stdout is JSON, however the program ends."""

    def starts(self, command, prepare=None, wait=5, **settings):
        xin = Xin(command, **settings)
        self.addCleanup(xin.stop)
        if prepare:
            prepare(xin)
        with contextlib.suppress(AssertionError):
            xin.start(wait=wait)
        return xin

    def check_lines(self, xin):
        time.sleep(0.3)
        events = [json.loads(line) for line in xin.logs]
        self.assertTrue(events)
        for event in events:
            for key in ("event", "level", "timestamp", "service"):
                self.assertIn(key, event)
        return events

    def test_a_service_that_refuses_to_start_says_why_in_json(self):
        def no_lua(xin):
            (xin.home / "lua/brands/default.lua").write_text("this is no Lua (")

        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        self.addCleanup(taken.close)
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        holder = self.starts("serve", wait=30)
        self.assertIsNotNone(holder.url)
        cases = [
            ("serve", None, {"XIN_DATA_DRI": "x"}, "XIN_DATA_DIR"),
            ("serve", None, {"XIN_LOG_LEVEL": "loud"}, "XIN_LOG_LEVEL"),
            ("serve", None, {"XIN_LOG_FORMAT": "xml"}, "XIN_LOG_FORMAT"),
            ("serve", None, {"XIN_ORCHESTRATOR_LISTEN": at}, "in use"),
            ("serve", None, {"XIN_ORCHESTRATOR_LISTEN": "nonsense"}, "nonsense"),
            ("serve", None, {"XIN_DATA_DIR": str(holder.home / "data")}, "another process"),
            ("serve", no_lua, {}, "xin check"),
            ("serve", None, {"XIN_LUA_DIR": "/nowhere"}, "/nowhere"),
            ("serve", None, {"XIN_TRACE_CONTENT": "all"}, "XIN_TRACE_CONTENT"),
            ("serve", None, {"STORAGE_ENDPOINT_URL": "http://127.0.0.1:1"}, "STORAGE_"),
            ("serve", None, {"XIN_ORCHESTRATOR_LISTEN": "0.0.0.0:0"}, "XIN_ADMIN_KEY"),
            ("gateway", None, {}, "XIN_ORCHESTRATOR_URL"),
            ("orchestrator", None, {}, "XIN_STORE_URL"),
            ("worker", None, {}, "XIN_STORE_URL"),
            ("migrate", None, {"XIN_STORE_URL": "postgres://u:p@127.0.0.1:1/x"}, "refused"),
            ("migrate", None, {"XIN_NONSENSE": "1"}, "XIN_NONSENSE"),
        ]
        for command, prepare, settings, word in cases:
            with self.subTest(command, **settings):
                xin = self.starts(command, prepare, **settings)
                xin.process.wait(20)
                last = self.check_lines(xin)[-1]
                self.assertEqual("process.failed", last["event"], last)
                self.assertEqual("error", last["level"])
                self.assertIn(word, last["error"])
                self.assertNotEqual(0, xin.process.returncode)
                if command in ("gateway", "orchestrator", "worker"):
                    self.assertEqual({"gateway": "xin-channel-gateway", "orchestrator":
                                      "xin-orchestrator", "worker": "xin-ingestion-worker"}[command],
                                     last["service"])

    def test_a_crash_is_the_last_line_with_frames_that_addr2line_knows(self):
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT):
            with self.subTest(number.name):
                xin = self.starts("serve", wait=30)
                xin.ask("GET", "/v1/brands")
                xin.process.send_signal(number)
                self.assertIn(xin.process.wait(20), (-number, 1))
                if Paths.sanitized(xin) or xin.process.returncode != -number:
                    self.skipTest("a sanitizer reports faults itself")
                last = self.check_lines(xin)[-1]
                self.assertEqual("process.crashed", last["event"])
                self.assertEqual(number.name, last["signal"])
                self.assertEqual(os.getpid(), last["sent_by"])
                self.assertRegex(last["build_id"], "^[0-9a-f]{16,}$")
                frames = [f.split("+")[1] for f in last["backtrace"] if f.startswith("xin+")]
                self.assertTrue(frames, last)
                known = subprocess.run(["addr2line", "-f", "-e", str(BINARY), *frames],
                                       capture_output=True, text=True, check=True).stdout
                self.assertIn("on_fault", known)

    def test_a_reader_that_stops_holds_up_no_answer(self):
        xin = Xin("serve", XIN_LOG_LEVEL="debug", XIN_LOG_REPEATS="0")
        self.addCleanup(xin.stop)
        xin.start()
        xin.reading.clear()  # nobody reads the pipe any more
        slowest = 0
        for n in range(600):
            began = time.monotonic()
            self.assertEqual(200, xin.ask("GET", f"/health?{n}", timeout=5)[0])
            xin.ask("GET", "/v1/brands/nobody/knowledge", timeout=5)
            slowest = max(slowest, time.monotonic() - began)
        self.assertLess(slowest, 2)
        xin.reading.set()
        self.check_lines(xin)


if __name__ == "__main__":
    try:
        otlp_receiver.load_proto()
    except otlp_receiver.Missing as missing:
        print(f"secrets_test: skipped: {missing}")
        sys.exit(77)
    unittest.main(verbosity=2)
