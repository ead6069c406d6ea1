# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible service for tests: strict with requests, scripted in its faults.

    model_server.py [--key KEY] [--model NAME] [--embeddings NAME] [--dimensions N]

prints "port N" once it listens on loopback, and ends when its standard input is closed.
Chat answers come from the passages of the prompt: the sentence with most words of the
question, marked with its passage's number; NO_ANSWER when none has any. Embeddings are
hashed bags of words of unit length, so texts that share words are near.

POST /control {"faults": [...], "reply": text|null} scripts what comes next: each call takes
one fault from the list ("" = none), the last one stays when "stay" is true. GET /control
tells the calls so far: {"calls": [{"path", "fault", "body"}]}; DELETE forgets everything.
A fault is a name with an optional argument, "name:argument":
    slow:MS            wait before the answer
    status:N           an error of that status in OpenAI's shape
    error:N:CODE       the same with a code
    html:N             an error page
    limited:SECONDS    429 with Retry-After ("date:N" for an HTTP date)
    reset              close the connection without an answer
    cut                stop in the middle of a token, connection closed
    early              end the stream well, but without a finish_reason
    stall:N            send N pieces, then nothing
    dribble            one byte at a time
    endless            a stream that never ends
    huge               an answer of 8 MiB in one piece
    badjson            bytes that are no JSON
    badsse             an event whose data is no JSON
    midstream          an error object in the stream
    whole              one object although a stream was asked for
    nousage            no usage anywhere
    filter             finish_reason content_filter
    refusal            the model's refusal
    dimensions:N       vectors of another length
    floats             vectors as arrays although base64 was asked for
    unnormalised       vectors of length 3
    zero, nan          vectors that are none; nan:floats as arrays
    missing            one vector less than texts
    shuffled           vectors in another order, with right indices
"""
import argparse
import base64
import email.utils
import hashlib
import json
import math
import re
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHAT_KEYS = {
    "model": str, "messages": list, "stream": bool, "stream_options": dict, "max_tokens": int,
    "max_completion_tokens": int, "temperature": (int, float),
}
EMBED_KEYS = {"model": str, "input": (str, list), "encoding_format": str, "dimensions": int}


class Refuse(Exception):
    def __init__(self, status, message, code=None):
        super().__init__(message)
        self.status, self.code = status, code


class State:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.forget()

    def forget(self):
        self.faults, self.stay, self.reply, self.calls, self.connections = [], False, None, [], 0

    def next_fault(self):
        with self.lock:
            if not self.faults:
                return ""
            return self.faults[0] if self.stay and len(self.faults) == 1 else self.faults.pop(0)


def words(text):
    return [w for w in re.findall(r"\w+", text.lower()) if len(w) > 2]


def vector(text, dimensions):
    values = [0.0] * dimensions
    for word in words(text) or [text]:
        digest = hashlib.sha256(word.rstrip("s").encode()).digest()
        values[int.from_bytes(digest[:4], "little") % dimensions] += 1.0
    length = math.sqrt(sum(v * v for v in values))
    return [v / length for v in values]


def answer_from(messages):
    """The best sentence of the numbered passages, cited; else NO_ANSWER."""
    prompt = messages[-1]["content"]
    if "Question: " not in prompt:
        return "echo: " + prompt
    passages, question = prompt.rsplit("Question: ", 1)
    asked, best, said = set(words(question)), 0, "NO_ANSWER"
    for number, text in re.findall(r"^\[(\d+)\][^\n]*\n(.*?)(?=\n\n\[\d+\]|\Z)", passages, re.S | re.M):
        for sentence in re.split(r"(?<=[.!?])\s+", text.strip()):
            share = len(asked & set(words(sentence)))
            if share > best:
                best, said = share, f"{sentence} [{number}]"
    return said if best >= 2 else "NO_ANSWER"


def check(body, known):
    if not isinstance(body, dict):
        raise Refuse(400, "the body must be an object")
    for name, value in body.items():
        if name not in known:
            raise Refuse(400, f"unknown field {name}")
        if not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool):
            raise Refuse(400, f"{name} has another type")


def check_messages(messages):
    if not messages:
        raise Refuse(400, "messages is empty")
    for message in messages:
        if set(message) != {"role", "content"} or not isinstance(message["content"], str):
            raise Refuse(400, "a message has role and content")
        if message["role"] not in ("system", "user", "assistant"):
            raise Refuse(400, "unknown role")
    if any(m["role"] == "system" for m in messages[1:]):
        raise Refuse(400, "the system message comes first")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = None

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        with self.state.lock:
            self.state.connections += 1

    # ---- sending ----

    def send_json(self, status, value, **headers):
        self.send_text(status, json.dumps(value), "application/json", **headers)

    def send_text(self, status, text, content_type, **headers):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def send_piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def send_error_object(self, status, message, code=None, **headers):
        self.send_json(status, {"error": {
            "message": message, "type": "invalid_request_error", "param": None, "code": code}}, **headers)

    # ---- requests ----

    def do_GET(self):
        if self.path == "/control":
            with self.state.lock:
                self.send_json(200, {"calls": self.state.calls, "connections": self.state.connections})
        else:
            self.send_error_object(404, "no such path")

    def do_DELETE(self):
        with self.state.lock:
            self.state.forget()
        self.send_json(200, {})

    def do_POST(self):
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/control":
            wanted = json.loads(data)
            with self.state.lock:
                self.state.faults = list(wanted.get("faults", []))
                self.state.stay = wanted.get("stay", False)
                self.state.reply = wanted.get("reply")
            self.send_json(200, {})
            return
        fault, _, argument = self.state.next_fault().partition(":")
        try:
            self.answer(data, fault, argument)
        except Refuse as why:
            self.send_error_object(why.status, str(why), why.code)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, data, fault, argument):
        try:
            body = json.loads(data)
        except ValueError:
            raise Refuse(400, "the body is no JSON") from None
        with self.state.lock:
            self.state.calls.append({"path": self.path, "fault": fault, "body": body, "at": time.time()})
        key = self.state.options.key
        if key and self.headers.get("Authorization") != "Bearer " + key:
            # As real ones do: the key comes back in the sentence.
            raise Refuse(401, "Incorrect API key provided: " + str(self.headers.get("Authorization")),
                         "invalid_api_key")
        if self.headers.get("Content-Type") != "application/json":
            raise Refuse(415, "application/json is expected")
        if self.fail(fault, argument):
            return
        if self.path == "/v1/chat/completions":
            self.chat(body, fault, argument)
        elif self.path == "/v1/embeddings":
            self.embeddings(body, fault, argument)
        else:
            raise Refuse(404, "no such path")

    def fail(self, fault, argument):
        """Faults that do not look at the request."""
        if fault == "slow":
            time.sleep(int(argument) / 1000)
        elif fault == "status":
            raise Refuse(int(argument), "scripted; the prompt was: secret words")
        elif fault == "error":
            status, code = argument.split(":")
            raise Refuse(int(status), "scripted", code)
        elif fault == "html":
            self.send_text(int(argument), "<html>Bad gateway</html>", "text/html")
            return True
        elif fault == "limited":
            seconds = argument.removeprefix("date:")
            after = (email.utils.formatdate(time.time() + float(seconds), usegmt=True)
                     if argument != seconds else seconds)
            self.send_error_object(429, "slow down", "rate_limit_exceeded", Retry_After=after)
            return True
        elif fault == "reset":
            self.close_connection = True
            self.connection.close()
            return True
        elif fault == "badjson":
            self.send_text(200, '{"choices": [', "application/json")
            return True
        return False

    # ---- chat ----

    def chat(self, body, fault, argument):
        check(body, CHAT_KEYS)
        check_messages(body.get("messages"))
        if body.get("model") != self.state.options.model:
            raise Refuse(404, f"The model {body.get('model')} does not exist", "model_not_found")
        size = sum(len(m["content"]) for m in body["messages"])
        if size > 200000:
            raise Refuse(400, "maximum context length is 200000", "context_length_exceeded")
        text = self.state.reply or answer_from(body["messages"])
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10 ** 6
        tokens = re.findall(r"\s*\S+", text)
        reason = "length" if len(tokens) > limit else "stop"
        if fault == "filter":
            reason = "content_filter"
        usage = {"prompt_tokens": size // 4, "completion_tokens": len(tokens),
                 "total_tokens": size // 4 + len(tokens)}
        if not body.get("stream") or fault == "whole":
            message = {"role": "assistant", "content": "".join(tokens[:limit]), "refusal": None}
            if fault == "refusal":
                message |= {"content": None, "refusal": "I cannot."}
            self.send_json(200, {
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
            } | ({} if fault == "nousage" else {"usage": usage}))
            return
        self.stream(body, fault, argument, tokens[:limit], reason, usage)

    def stream(self, body, fault, argument, tokens, reason, usage):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def chunk(delta, finish=None, **more):
            value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                     "model": body["model"], "usage": None,
                     "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more
            return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"

        send = self.send_piece
        if fault == "dribble":
            def send(data):
                for i in range(len(data)):
                    self.send_piece(data[i:i + 1])
        send(b": hello\n\n" + chunk({"role": "assistant", "content": ""}))
        if fault == "refusal":
            send(chunk({"refusal": "I cannot."}))
            tokens = []
        if fault == "huge":
            send(chunk({"content": "x" * (8 << 20)}))
        for i, token in enumerate(tokens):
            if fault == "stall" and i == int(argument):
                time.sleep(20)
                return
            if fault == "cut" and i == min(3, len(tokens) - 1):
                data = chunk({"content": token})
                self.wfile.write(b"%x\r\n%s" % (len(data), data[:len(data) // 2]))
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(1)
                return
            send(chunk({"content": token}))
        while fault == "endless":
            send(chunk({"content": " more"}))
            time.sleep(0.005)
        if fault == "badsse":
            send(b"data: {oops\n\n")
        if fault == "midstream":
            send(b'data: {"error":{"message":"server died","type":"server_error","code":null}}\n\n')
        if fault != "early":
            send(chunk({}, reason))
            if body.get("stream_options", {}).get("include_usage") and fault != "nousage":
                send(chunk({}, choices=[], usage=usage))
            send(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    # ---- embeddings ----

    def embeddings(self, body, fault, argument):
        check(body, EMBED_KEYS)
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not texts or len(texts) > 2048 or not all(isinstance(t, str) and t for t in texts):
            raise Refuse(400, "input must be one to 2048 strings that are not empty")
        if body.get("model") != self.state.options.embeddings:
            raise Refuse(404, f"The model {body.get('model')} does not exist", "model_not_found")
        dimensions = int(argument) if fault == "dimensions" else self.state.options.dimensions
        data = []
        for i, text in enumerate(texts):
            values = vector(text, dimensions)
            if fault == "unnormalised":
                values = [3 * v for v in values]
            elif fault == "zero":
                values = [0.0] * dimensions
            elif fault == "nan":
                values[0] = math.nan
            packed = base64.b64encode(struct.pack(f"<{dimensions}f", *values)).decode()
            wanted = body.get("encoding_format") == "base64" and "floats" not in (fault, argument)
            data.append({"object": "embedding", "index": i, "embedding": packed if wanted else values})
        if fault == "missing":
            data.pop()
        if fault == "shuffled":
            data.reverse()
        count = sum(len(words(t)) for t in texts)
        self.send_json(200, {"object": "list", "model": body["model"], "data": data,
                             "usage": {"prompt_tokens": count, "total_tokens": count}})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", default="sk-test")
    parser.add_argument("--model", default="test-model")
    parser.add_argument("--embeddings", default="test-embeddings")
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--port", type=int, default=0)
    Handler.state = State(parser.parse_args())
    server = ThreadingHTTPServer(("127.0.0.1", Handler.state.options.port), Handler)
    server.daemon_threads = True
    print("port", server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


main()
