"""A real Apache Kafka broker for one machine: KRaft, one node, started from jars in a few seconds."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local import install
from deploy.local.errors import StackError
from deploy.local.paths import LOCAL
from deploy.local.ports import LOOPBACK
from deploy.local.process import OwnedProcess, until_ready

KAFKA_VERSION: Final = "4.4.0"
_CLUSTER_ID: Final = "kZ0u7M8jTNaLq3hC4mQfVw"
_LOG_CONFIG: Final = Path(__file__).with_name("log4j2.yaml")
_HEAP: Final = ("-Xms128m", "-Xmx512m")
# One thread collects: on two cores the parallel collectors only compete with the broker's own threads.
_JVM: Final = (*_HEAP, "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")

_CONFIG: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # One node holds every replica.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    # As in production: topics are created by the deployment, and a group's offsets live as long as its topics (35 days).
    "auto.create.topics.enable": "false",
    "offsets.retention.minutes": str(35 * 24 * 60),
    "message.max.bytes": str(4 * 1024 * 1024),
    "replica.fetch.max.bytes": str(4 * 1024 * 1024),
    # Groups form at once, and short sessions let tests see a takeover soon.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After a SIGKILL the controller refuses the broker until its old session ends.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # Sized for 512 MB of heap and many small partitions.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.segment.bytes": str(128 * 1024 * 1024),
    "log.index.size.max.bytes": str(1024 * 1024),
}


class Kafka:
    """One broker with its data in `directory`; a restart keeps the data and the port."""

    def __init__(
        self, directory: Path, *, port: int, controller_port: int, ready_within_s: float = 60.0
    ) -> None:
        """Keeps the settings; nothing is installed or started yet."""
        self.bootstrap = f"{LOOPBACK}:{port}"
        self.data_dir = directory / "kafka"
        self._port = port
        self._controller_port = controller_port
        self._ready_within_s = ready_within_s
        self._archive: Path | None = None
        self._properties = directory / "kafka.properties"
        self._process = OwnedProcess([], log_path=directory / "kafka.log")

    name: Final = "kafka"

    @property
    def pid(self) -> int:
        """The broker's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process.running

    @property
    def log_path(self) -> Path:
        """The broker's log."""
        return self._process.log_path

    async def start(self) -> None:
        """Starts the broker, formatting its directory first when it is new, and returns when it serves metadata.

        Raises:
            StackError: something is missing, or it did not get ready; the text says what.
        """
        java = await asyncio.to_thread(install.java)
        libs = await asyncio.to_thread(install.kafka_jars, KAFKA_VERSION)
        self._archive = libs.with_name(f"classes-{await asyncio.to_thread(install.java_build, java)}.jsa")
        if not self.data_dir.exists():
            template = await asyncio.to_thread(_formatted_directory, java, libs)
            self.data_dir.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(template, self.data_dir)
        _write_properties(self._properties, self._settings())
        main = _java_main(libs, "kafka.Kafka")
        self._process.argv = [str(java), *_JVM, self._class_data(self._archive), *main, str(self._properties)]
        self._process.spawn()
        await until_ready(self._process, self._serves, what="Kafka", timeout_s=self._ready_within_s)

    async def stop(self) -> None:
        """Shuts the broker down cleanly, killing it after 15 s; does nothing when it does not run."""
        await self._process.stop(grace_s=15.0)
        if self._archive is not None and (draft := _draft(self._archive, self._port)).exists():
            draft.replace(self._archive)

    async def kill(self) -> None:
        """SIGKILLs the broker."""
        await self._process.kill()

    def _class_data(self, archive: Path) -> str:
        """Lets the JVM read its classes from an archive: measured 1.9 s instead of 3.9 s to start on two cores.

        The first broker that stops cleanly leaves the archive; one that does not fit is ignored by the JVM.
        """
        if archive.exists():
            return f"-XX:SharedArchiveFile={archive}"
        return f"-XX:ArchiveClassesAtExit={_draft(archive, self._port)}"

    def _settings(self) -> dict[str, str]:
        broker, controller = self.bootstrap, f"{LOOPBACK}:{self._controller_port}"
        return {
            **_CONFIG,
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(self.data_dir),
        }

    async def _serves(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            return False
        writer.close()
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap, request_timeout_ms=2_000)
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except KafkaError:
            return False
        finally:
            await client.close()


def _formatted_directory(java: Path, libs: Path) -> Path:
    """Gives an empty formatted data directory to copy: formatting takes a JVM start, a copy takes none.

    It knows neither ports nor paths, so one serves every instance.
    """
    formatted = libs.with_name("formatted")
    with install.install_lock(f"kafka-{KAFKA_VERSION}"):
        if not formatted.exists():
            with tempfile.TemporaryDirectory(dir=LOCAL) as scratch:
                _format(java, libs, Path(scratch))
                (Path(scratch) / "data").rename(formatted)
    return formatted


def _format(java: Path, libs: Path, directory: Path) -> None:
    properties = directory / "format.properties"
    listeners = f"PLAINTEXT://{LOOPBACK}:9092,CONTROLLER://{LOOPBACK}:9093"
    settings = {
        **_CONFIG,
        "listeners": listeners,
        "controller.quorum.voters": f"1@{LOOPBACK}:9093",
        "log.dirs": str(directory / "data"),
    }
    _write_properties(properties, settings)
    command = [str(java), *_java_main(libs, "kafka.tools.StorageTool")]
    command += ["format", "--cluster-id", _CLUSTER_ID, "--config", str(properties)]
    install.run_quietly(command, "formatting the broker's directory")
    if not (directory / "data" / "meta.properties").exists():
        raise StackError("formatting the broker's directory left no meta.properties")


def _draft(archive: Path, port: int) -> Path:
    return archive.with_suffix(f".{os.getpid()}-{port}")


def _java_main(libs: Path, main_class: str) -> list[str]:
    return ["-cp", f"{libs}/*", f"-Dlog4j2.configurationFile={_LOG_CONFIG}", main_class]


def _write_properties(path: Path, settings: dict[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in sorted(settings.items())))
