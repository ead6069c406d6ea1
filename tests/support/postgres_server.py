#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL for tests: in a folder of its own, on a free port and a Unix
socket, gone when whoever started it is gone.

As a program (the C and Lua tests):
  postgres_server.py serve          prints the URL, then obeys one word a line:
                                    kill (SIGKILL), start, stop, freeze, thaw,
                                    create (a new database "fresh"), and answers
                                    "ok"; the end of its standard input ends all
  postgres_server.py run CMD ...    runs CMD with XIN_TEST_POSTGRES_URL set
Exit status 77: there is no PostgreSQL here; the sentence is on standard output.

As a module: with Server() as server: ... server.url ..., server.kill(), .start().
"""
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PASSWORD = "se%cret"
PASSWORD_IN_URL = "se%25cret"


class Missing(Exception):
    pass


def binary(name):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/" + name),
                   key=lambda path: int(path.split("/")[4]))
    path = found[-1] if found else shutil.which(name)
    if not path:
        raise Missing("no PostgreSQL server here: install the package postgresql")
    return path


def account():
    """The server refuses root: another user then."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise Missing("PostgreSQL does not run as root, and there is no user postgres")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self):
        self.user = account()
        self.folder = tempfile.mkdtemp(prefix="xin-pg-")
        self.process = None
        self.log = open(os.path.join(self.folder, "log"), "ab")
        try:
            self._make()
            self.start()
        except BaseException:
            self.close()
            raise

    def _run(self, argv, **more):
        if self.user:
            more.update(user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[])
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log,
                                stderr=self.log, cwd=self.folder, **more)

    def _make(self):
        self.port = free_port()
        secret = os.path.join(self.folder, "secret")
        with open(secret, "w") as f:
            f.write(PASSWORD + "\n")
        if self.user:
            for path in (self.folder, secret):
                os.chown(path, self.user.pw_uid, self.user.pw_gid)
        made = self._run([binary("initdb"), "--no-sync", "-D", self.folder + "/data", "-U", "xin",
                          "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--locale=C"])
        if made.wait() != 0:
            raise RuntimeError(self.tail())
        self._make_certificate()
        at = f"/postgres?host={self.folder}&port={self.port}"
        self.url = f"postgresql://xin:{PASSWORD_IN_URL}@{at}"
        self.tcp_url = f"postgresql://xin:{PASSWORD_IN_URL}@127.0.0.1:{self.port}/postgres"

    def _make_certificate(self):
        """For TLS over TCP, where openssl can be had; it is its own authority."""
        self.tls = []
        if not shutil.which("openssl"):
            return
        key, crt = self.folder + "/server.key", self.folder + "/server.crt"
        made = self._run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                          "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", key,
                          "-out", crt, "-subj", "/CN=localhost",
                          "-addext", "subjectAltName=DNS:localhost"])
        if made.wait() == 0:
            self.tls = ["-c", "ssl=on", "-c", "ssl_cert_file=" + crt, "-c", "ssl_key_file=" + key]

    def tail(self):
        self.log.flush()
        with open(self.log.name, errors="replace") as f:
            return f.read()[-2000:]

    def _answers(self):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(f"{self.folder}/.s.PGSQL.{self.port}")
            # The file that says whether it takes connections.
            with open(self.folder + "/data/postmaster.pid") as f:
                return f.read().split("\n")[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def start(self):
        if self.process:
            return
        argv = [binary("postgres"), "-D", self.folder + "/data", "-p", str(self.port),
                "-k", self.folder, "-h", "127.0.0.1", "-c", "fsync=off",
                "-c", "full_page_writes=off", "-c", "max_connections=60",
                "-c", "shared_buffers=32MB", "-c", "deadlock_timeout=100ms"] + self.tls
        pid_file = self.folder + "/data/postmaster.pid"
        if os.path.exists(pid_file):
            os.unlink(pid_file)
        setpriv = shutil.which("setpriv")
        if setpriv:
            argv = [setpriv, "--pdeathsig", "INT"] + argv
        self.process = self._run(argv)
        end = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("PostgreSQL did not start: " + self.tail())
            time.sleep(0.02)

    def _end(self, with_signal):
        if self.process:
            self.process.send_signal(with_signal)
            self.process.wait()
            self.process = None

    def stop(self):
        self._end(signal.SIGINT)  # fast shutdown

    def _signal_all(self, number):
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
                                  capture_output=True, text=True).stdout.split()
        self.process.send_signal(number)
        for pid in children:
            try:
                os.kill(int(pid), number)
            except ProcessLookupError:
                pass

    def freeze(self):
        """It takes connections (the kernel does) and says nothing any more."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self):
        self._signal_all(signal.SIGCONT)

    def kill(self):
        """As a power cut: its children too."""
        if not self.process:
            return
        self._signal_all(signal.SIGKILL)
        self.process.wait()
        self.process = None
        time.sleep(0.1)  # shared memory lets go

    def create(self):
        """A new, empty database "fresh" in the place of an older one."""
        for sql in ("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh"):
            subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", self.url, "-c", sql],
                           check=True, stdout=self.log, stderr=self.log)

    def close(self):
        self._end(signal.SIGINT)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def serve(server):
    print(server.url, flush=True)
    for line in sys.stdin:
        {"kill": server.kill, "start": server.start, "stop": server.stop,
         "create": server.create, "freeze": server.freeze, "thaw": server.thaw}[line.strip()]()
        print("ok", flush=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        server = Server()
    except Missing as why:
        print(why, flush=True)
        return 77
    with server:
        if sys.argv[1] == "serve":
            serve(server)
            return 0
        return subprocess.call(sys.argv[2:], env=dict(os.environ, XIN_TEST_POSTGRES_URL=server.url))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("serve", "run"):
        sys.exit(__doc__)
    sys.exit(main())
