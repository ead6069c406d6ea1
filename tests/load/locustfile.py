# SPDX-License-Identifier: Apache-2.0
"""The load test: for each brand, 50 conversations through the gateway's web
chat, and now and then a fresh Markdown file for the worker. `make load-test`
runs it headless; docs/runbook.md, "Load Testing with Locust", has the settings.

Every call carries an X-Request-ID of its own; the log has it beside the flow's
name, the same id is in the services' logs and traces.
"""
import hashlib
import hmac
import json
import logging
import os
import random
import time
import uuid

from locust import FastHttpUser, between, events, task

BRANDS = [b for b in os.environ.get("LOCUST_BRANDS", "alpha,beta").split(",") if b]
CONVERSATIONS = int(os.environ.get("LOCUST_CONVERSATIONS", "50"))  # of each brand
# Two secrets, while one is being rotated: the first signs.
SECRET = (os.environ.get("GATEWAY_WEBHOOK_SECRET") or "dev-web").split(",")[0]
API_KEY = os.environ.get("INGESTION_API_KEY", "")
WARMUP_SECONDS = float(os.environ.get("INGESTION_WARMUP_SECONDS", "10"))
WARMUP_FILENAME = os.environ.get("INGESTION_WARMUP_FILENAME") or "warmup.md"
WARMUP_CONTENT = os.environ.get("INGESTION_WARMUP_CONTENT") or (
    "# Returns\n\nYou can return a jacket within 30 days of delivery. "
    "Shipping to Tehran takes 3 working days.")
WARMUP_CONTENT_TYPE = os.environ.get("INGESTION_WARMUP_CONTENT_TYPE") or "text/markdown"

MESSAGES = ("hello", "Within how many days can I return a jacket?",
            "How long does shipping to Tehran take?", "thanks",
            "Do you sell green jackets?", "bye")

log = logging.getLogger("xin.load")


@events.init_command_line_parser.add_listener
def defaults(parser):
    users = CONVERSATIONS * len(BRANDS)
    parser.set_defaults(host="http://127.0.0.1:8080", num_users=users,
                        spawn_rate=max(1, users / 5))


def signature(body):
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def multipart(name, content, content_type, **fields):
    """The upload's body and its Content-Type."""
    edge = uuid.uuid4().hex
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
             for key, value in fields.items()]
    parts.append(f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                 f"Content-Type: {content_type}\r\n\r\n{content}\r\n--{edge}--\r\n")
    return "".join(parts).encode(), f"multipart/form-data; boundary={edge}"


def answer_of(response):
    try:
        answer = json.loads(response.text or "")
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def error_of(response):
    """`503 overloaded`: short, so that equal failures are counted together."""
    if response.status_code == 0:
        return f"no answer: {response.error}"
    error = answer_of(response).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return f"{response.status_code} {code or 'without a code'}"


class Conversation(FastHttpUser):
    """One customer of a brand who writes, waits, and writes again."""
    abstract = True
    brand = ""
    insecure = False  # keys travel: certificates are checked
    connection_timeout = network_timeout = 65.0  # a turn may take 60 s
    wait_time = between(1, 3)
    staged = {}  # of all customers: brand -> [time of the last upload, its id]

    def on_start(self):
        self.user_id = "load-" + uuid.uuid4().hex
        self.conversation_id = None

    def call(self, method, url, flow, check, **request):
        """One request under an id of its own. `check` says what is wrong with the
        answer, or nothing; the answer comes back when all is well."""
        correlation_id = "load-" + uuid.uuid4().hex
        headers = request.pop("headers", {}) | {"X-Request-ID": correlation_id}
        began = time.monotonic()
        with self.client.request(method, url, name=flow, headers=headers,
                                 catch_response=True, **request) as response:
            told = (response.headers or {}).get("X-Request-ID")
            problem = check(response)
            if not problem and told != correlation_id:
                problem = "the answer has another X-Request-ID"
            if problem:
                response.failure(problem)
            else:
                response.success()
            log.log(logging.WARNING if problem else logging.INFO,
                    "flow=%s correlation_id=%s status=%s ms=%d retry_after=%s%s", flow,
                    correlation_id, response.status_code, (time.monotonic() - began) * 1000,
                    (response.headers or {}).get("Retry-After", "-"),
                    f" problem={problem!r}" if problem else "")
            return None if problem else answer_of(response)

    def check_turn(self, response):
        if response.status_code != 200:
            return error_of(response)
        reply = answer_of(response).get("reply")
        return None if isinstance(reply, dict) and reply.get("text") else "200 without a reply"

    @task
    def turn(self):
        self.say()
        self.warm_up()

    def say(self):
        message = {"brand": self.brand, "message_id": uuid.uuid4().hex,
                   "text": random.choice(MESSAGES), "user": {"id": self.user_id}}
        if self.conversation_id:
            message["conversation_id"] = self.conversation_id
        body = json.dumps(message).encode()
        answer = self.call("POST", "/webchat/webhook", f"gateway:webhook:{self.brand}",
                           self.check_turn, data=body,
                           headers={"Content-Type": "application/json",
                                    "X-Signature": signature(body)})
        if answer:
            self.conversation_id = answer.get("conversation_id")

    def warm_up(self):
        """Every WARMUP_SECONDS one customer of the brand stages the file, when the
        one before is ready."""
        last = self.staged.setdefault(self.brand, [0.0, None])
        if time.monotonic() - last[0] < WARMUP_SECONDS:
            return
        last[0] = time.monotonic()
        if last[1]:
            self.knowledge("GET", f"/{last[1]}?require=ready", "ingestion:ready", (200,))
        # The same bytes are not ingested twice: each upload has a line of its own.
        # One external_id: versions of one source, not a pile of sources.
        body, content_type = multipart(
            WARMUP_FILENAME, f"{WARMUP_CONTENT}\n\nStaged as {uuid.uuid4().hex}.\n",
            WARMUP_CONTENT_TYPE, external_id="load-warmup")
        answer = self.knowledge("POST", "", "ingestion:warmup", (200, 202), data=body,
                                headers={"Content-Type": content_type})
        last[1] = answer.get("id") if answer else None

    def knowledge(self, method, path, flow, wanted, headers=None, **request):
        host = os.environ.get("ORCHESTRATOR_HOST") or self.host
        headers = dict(headers or {})
        if API_KEY:
            headers["Authorization"] = "Bearer " + API_KEY
        return self.call(
            method, f"{host.rstrip('/')}/v1/brands/{self.brand}/knowledge{path}",
            f"{flow}:{self.brand}",
            lambda response: None if response.status_code in wanted else error_of(response),
            headers=headers, **request)


def customers(base):
    """A class for each brand: Locust gives each its share of the users."""
    return {f"Customer_{brand}": type(f"Customer_{brand}", (base,), {"brand": brand})
            for brand in BRANDS}


globals().update(customers(Conversation))
