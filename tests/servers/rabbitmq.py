"""RabbitMQ: one node of its own, with an epmd of its own that goes when the node goes."""

import itertools
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.servers import getting
from tests.servers.server import PATIENCE, Missing, Server, free_port

_WHERE = ("/usr/lib/rabbitmq/lib", "/opt/rabbitmq", "/usr/local/lib/rabbitmq")
USER, PASSWORD = "shop", "s3cret/word@100%"
"""Of the node's only user: with characters that a URL has to escape."""

# Run by sh, which becomes the node. RabbitMQ would start an epmd that stays for ever: this one is there first,
# and is killed by the kernel when the node is gone.
_START = 'setpriv --pdeathsig KILL epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" & exec "$@"'


def install() -> None:
    """Install Debian's package as root, where it is missing; no service is started, and nothing of it listens."""
    if _scripts() is not None or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    getting.install("rabbitmq-server", "openssl")


def _scripts() -> Path | None:
    """The folder of the node's own scripts; those on the PATH change the user and the folders."""
    found = sorted(path for where in _WHERE for path in Path(where).glob("rabbitmq_server-*/sbin"))
    return found[-1] if found else None


class RabbitMQ(Server):
    """A node that keeps its promises; passwords are asked for."""

    name = "rabbitmq"

    def __init__(self) -> None:
        scripts = _scripts()
        if scripts is None or not all(map(shutil.which, ("erl", "epmd", "setpriv", "openssl"))):
            raise Missing("RabbitMQ's server is missing; install it: apt install rabbitmq-server openssl")
        self._scripts = scripts
        self._numbers = itertools.count(1)
        self._epmd, self._distribution, self.tls_port = free_port(), free_port(), free_port()
        super().__init__()

    @property
    def certificate(self) -> Path:
        """What the node shows to those who connect by TLS, signed by itself."""
        return self.folder / "certificate.pem"

    def prepare(self) -> None:
        self.run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", "key.pem", "-out", str(self.certificate)),
        )
        (self.folder / "plugins").write_text("[].\n")
        # How often quorum queues tell how many messages they have; usually each five seconds.
        (self.folder / "advanced.config").write_text("[{rabbit, [{quorum_tick_interval, 200}]}].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.certificate}\n"
            f"ssl_options.certfile = {self.certificate}\n"
            f"ssl_options.keyfile = {self.folder}/key.pem\n"
            "ssl_options.verify = verify_none\n"
            f"default_user = {USER}\n"
            f"default_pass = {PASSWORD}\n"
            "loopback_users = none\n"
            "vm_memory_high_watermark.relative = 0.4\n"
            "disk_free_limit.absolute = 50MB\n"
            "max_message_size = 16777216\n"
            "log.console = true\n"
            "log.console.level = info\n"
            "log.file = false\n"
        )

    @property
    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "HOME": str(folder),  # where the cookie is
            "RABBITMQ_NODENAME": f"reactor{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "features"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
            "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the node, instead of waiting for it
        }

    def command(self) -> list[str]:
        settings = [f"{name}={value}" for name, value in self._environment.items()]
        node = [str(self._scripts / "rabbitmq-server"), "-noinput"]
        return ["env", *settings, "sh", "-c", _START, "sh", *node]

    def ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as one:
                one.settimeout(2)
                one.sendall(b"AMQP\0\0\x09\x01")
                return one.recv(1) == b"\x01"
        except OSError:
            return False

    def again(self, said: str) -> bool:
        return any(words in said for words in ("eaddrinuse", "already running", "Address already in use"))

    def kill(self) -> None:
        """Kill -9, not at once: 3.10 writes down up to two seconds later that there is a new queue.

        Killed before, it has forgotten the queue, or where the messages of a quorum queue are.
        """
        time.sleep(3.0)
        super().kill()

    def control(self, *words: str) -> str:
        """Run rabbitmqctl, and return what it said."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                [str(self._scripts / "rabbitmqctl"), "--quiet", *words],
                env={**os.environ, **self._environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > deadline or not self.running:
                raise RuntimeError(f"rabbitmqctl {' '.join(words)}:\n{done.stdout}{done.stderr}")
            time.sleep(0.2)

    def queues(self) -> dict[str, int]:
        """Return each queue and how many messages it had a moment ago, those in flight included."""
        rows = self.control("list_queues", "--no-table-headers", "name", "messages").splitlines()
        return {name: int(count) for name, count in (row.split("\t") for row in rows if "\t" in row)}

    def emptied(self, queue: str) -> bool:
        """Return whether the queue has no messages, in flight or not, or has none soon."""
        deadline = time.monotonic() + 5
        while (count := self.queues()[queue]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not count

    def at(
        self, topic: str, *, password: str = PASSWORD, port: int = 0, tls: bool = False, **options: object
    ) -> str:
        """Return the URL of a topic."""
        query = "&".join(f"{name}={quote(str(value))}" for name, value in options.items())
        account = f"{USER}:{quote(password, safe='')}"
        scheme, own = ("amqps", self.tls_port) if tls else ("amqp", self.port)
        return f"{scheme}://{account}@127.0.0.1:{port or own}/{topic}{'?' if query else ''}{query}"

    def topic(self, **options: Any) -> str:
        """Return the URL of a topic that nobody has used yet."""
        return self.at(f"t{next(self._numbers)}", **options)
