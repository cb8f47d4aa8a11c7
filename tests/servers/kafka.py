"""Apache Kafka: one node in KRaft mode, broker and controller in one process.

``python -m tests.servers.kafka`` gets its jars from Maven Central.
"""

import itertools
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

from tests.servers import getting
from tests.servers.server import Missing, Server, free_port

VERSION = "4.1.0"
JARS = Path(__file__).parent.parent.parent / ".brokers" / "kafka"
PASSWORD = "s3cret/word@100%"
"""Of the only user, ``shop``."""

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
  </dependency><dependency>
    <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version>
  </dependency></dependencies>
</project>
"""
_LOGGING = """Configuration:
  status: error
  Appenders:
    Console: {name: OUT, PatternLayout: {pattern: "%d %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: OUT}}
"""
_JVM = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def install() -> None:
    """Get the jars from Maven Central, where they are missing."""
    if _installed():
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("Apache Kafka's jars come by Maven, which is missing; install it: apt install maven")
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=JARS.parent) as folder:
        pom = Path(folder) / "pom.xml"
        pom.write_text(_POM)
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={folder}/jars"]
        try:
            getting.get(command)
        except getting.NotGot as error:
            raise Missing(f"Apache Kafka's jars can't be had of Maven Central: {error}") from None
        shutil.rmtree(JARS, ignore_errors=True)
        os.rename(f"{folder}/jars", JARS)


def _installed() -> bool:
    return (JARS / f"kafka_2.13-{VERSION}.jar").exists()


class Kafka(Server):
    """A broker with three listeners: plain, with a password (SASL PLAIN), and with TLS."""

    name = "kafka"

    def __init__(self) -> None:
        java = shutil.which("java")
        keytool = shutil.which("keytool")
        if java is None or keytool is None:
            raise Missing(
                "Apache Kafka needs Java 17 or newer; install it: apt install openjdk-17-jre-headless"
            )
        if not _installed():
            raise Missing("Apache Kafka's jars are missing; get them: python -m tests.servers.kafka")
        self._java, self._keytool = java, keytool
        self.sasl_port, self.tls_port, self._controller = free_port(), free_port(), free_port()
        self._numbers = itertools.count(1)
        self._client: AdminClient | None = None
        super().__init__()

    def prepare(self) -> None:
        self.certificate = self.folder / "certificate.pem"
        store = f"-keystore {self.folder}/keys.p12 -storepass changeit -alias kafka".split()
        self.run(
            *(self._keytool, "-genkeypair", *store, "-keyalg", "EC", "-dname", "CN=localhost"),
            *("-ext", "san=dns:localhost,ip:127.0.0.1", "-validity", "3650"),
        )
        self.run(self._keytool, "-exportcert", "-rfc", *store, "-file", str(self.certificate))
        (self.folder / "log4j2.yaml").write_text(_LOGGING)
        (self.folder / "server.properties").write_text(self._properties())
        self.run(
            *(*self._program(), "kafka.tools.StorageTool", "format", "--standalone"),
            *("-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", "server.properties"),
        )

    def _properties(self) -> str:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller}",
            "listeners": f"PLAIN://127.0.0.1:{self.port},SASL://127.0.0.1:{self.sasl_port},"
            f"TLS://127.0.0.1:{self.tls_port},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"PLAIN://127.0.0.1:{self.port},SASL://127.0.0.1:{self.sasl_port},"
            f"TLS://127.0.0.1:{self.tls_port},CONTROLLER://127.0.0.1:{self._controller}",
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{login} user_shop="{PASSWORD}";',
            "listener.name.tls.ssl.keystore.location": f"{self.folder}/keys.p12",
            "listener.name.tls.ssl.keystore.password": "changeit",
            "listener.name.tls.ssl.keystore.type": "PKCS12",
            "log.dirs": f"{self.folder}/data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "broker.session.timeout.ms": 2000,  # after a kill the old registration is in the way for so long
            "broker.heartbeat.interval.ms": 500,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "log.cleaner.dedupe.buffer.size": 16777216,
            # Every 5 minutes by default; what falls under the retention has to be seen at once, not now and then.
            "log.retention.check.interval.ms": 500,
            "log.initial.task.delay.ms": 500,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _program(self) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder}/log4j2.yaml"
        return [self._java, *_JVM, logging, "-cp", f"{JARS}/*"]

    def command(self) -> list[str]:
        return [*self._program(), "kafka.Kafka", "server.properties"]

    def ready(self) -> bool:
        try:
            return bool(self.client.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def again(self, said: str) -> bool:
        return "Address already in use" in said

    @property
    def client(self) -> AdminClient:
        if self._client is None:
            settings = {"bootstrap.servers": self.servers, "reconnect.backoff.max.ms": 200, "log_level": 0}
            self._client = AdminClient(settings)
        return self._client

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def topic(self, partitions: int = 1, **settings: str) -> str:
        """Make a topic with a name of its own, and return that."""
        name = self.unused()
        named = {key.replace("_", "."): value for key, value in settings.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=named)
        self.client.create_topics([topic])[name].result(30)
        return name

    def unused(self) -> str:
        """Return the name of a topic that isn't there."""
        return f"topic-{next(self._numbers)}"

    def grow(self, topic: str, partitions: int) -> None:
        """Let the topic have that many partitions."""
        self.client.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)
        # The controller says so; the broker hears of it a moment later.
        until = time.monotonic() + 30
        while len(self.client.list_topics(topic, 10).topics[topic].partitions) != partitions:
            assert time.monotonic() < until, "the broker knows nothing of the new partitions"
            time.sleep(0.02)

    def decided(self, topic: str) -> None:
        """Wait until no transaction is open in the topic: its end is written after the producer was told of it."""

        def ends(isolation: IsolationLevel) -> list[int]:
            asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}
            found = self.client.list_offsets(asked, isolation_level=isolation)
            return [found[place].result(10).offset for place in asked]

        def same() -> bool:
            try:
                return ends(IsolationLevel.READ_COMMITTED) == ends(IsolationLevel.READ_UNCOMMITTED)
            except KafkaException:  # the topic is so new that nobody leads it
                return False

        partitions = self.client.list_topics(topic, 10).topics[topic].partitions
        until = time.monotonic() + 30
        while not same():
            assert time.monotonic() < until, "a transaction is open"
            time.sleep(0.01)

    def url(self, topic: str) -> str:
        return f"kafka://{self.servers}/{topic}"


if __name__ == "__main__":
    try:
        install()
    except Missing as missing:
        sys.exit(str(missing))
