"""Builds images without a container engine: copied files in a folder, pip's packages in a virtual environment.

The virtual environment is named by what goes into it (interpreter, platform, requirements file, options), so that a
second build installs nothing, in any checkout that shares the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local_aws.images.cache import Image, cache_dir, write_whole
from local_aws.images.dockerfile import DockerfileError, Instruction, read
from local_aws.images.filesystem import BASE
from local_aws.images.installed import link_installed

_PIP_FLAGS = ("--no-cache-dir", "--require-hashes")
_PIP_KNOWN = (*_PIP_FLAGS, "--only-binary", "-r")


class ImageBuilder:
    """One build of the Dockerfile in a folder. Call `build` once.

    Args:
        folder: the build context, with its `Dockerfile`.
        say: receives one line for each step.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], None] = lambda line: None) -> None:
        self._folder = folder.resolve()
        self._say = say
        self._root = Path()
        self._base = ""
        self._working_directory = ""
        self._environment: dict[str, str] = {}
        self._environment_id = ""
        self._entrypoint: tuple[str, ...] = ()

    def build(self) -> str:
        """Carry out the Dockerfile; returns the image's digest (`sha256:...`). Raises `DockerfileError`."""
        if (self._folder / ".dockerignore").exists():
            raise DockerfileError(".dockerignore is not supported without Docker; COPY only what the image needs")
        handlers = {
            "FROM": self._from,
            "WORKDIR": self._workdir,
            "COPY": self._copy,
            "RUN": self._run,
            "ENV": self._env,
            "ENTRYPOINT": self._set_entrypoint,
        }
        cache = cache_dir()
        (cache / "by-digest").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as scratch:
            self._root = Path(scratch, "root")
            self._root.mkdir()
            for instruction in read(self._folder / "Dockerfile"):
                if not self._base and instruction.name != "FROM":
                    raise instruction.refuse("a Dockerfile starts with FROM")
                self._say(f"{instruction.name} {instruction.text}")
                if instruction.name in handlers:  # USER and EXPOSE change nothing for a process of this user
                    handlers[instruction.name](instruction)
            if not self._entrypoint:
                raise DockerfileError("The Dockerfile has no ENTRYPOINT")
            return self._store(cache)

    def _from(self, instruction: Instruction) -> None:
        if self._base:
            raise instruction.refuse("a second stage is not supported without Docker")
        words = instruction.text.split()
        if len(words) != 1 or not words[0].split("/")[-1].startswith("python"):
            raise instruction.refuse("only python images can be stood in for without Docker, and without AS")
        self._base = words[0]
        self._say(f"python {platform.python_version()} stands in for {self._base}")

    def _workdir(self, instruction: Instruction) -> None:
        if self._working_directory or not instruction.text.startswith("/"):
            raise instruction.refuse("give one WORKDIR, as an absolute path")
        self._working_directory = instruction.text

    def _copy(self, instruction: Instruction) -> None:
        *sources, target = instruction.text.split()
        if not sources:
            raise instruction.refuse("COPY needs a source and a target")
        place = Path(os.path.normpath(self._root / target))
        if not self._working_directory or not place.is_relative_to(self._root):
            raise instruction.refuse("set WORKDIR first and copy to a relative path below it")
        for source in sources:
            path = (self._folder / source).resolve()
            if not path.is_relative_to(self._folder) or not path.exists():
                raise instruction.refuse(f"{source}: nothing in {self._folder.name}/ matches")
            if path.is_dir():
                self._place_links(instruction, path, place)
                shutil.copytree(
                    path, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                into_folder = target.endswith("/") or len(sources) > 1 or place.is_dir()
                copy = place / path.name if into_folder else place
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)

    def _place_links(self, instruction: Instruction, source: Path, place: Path) -> None:
        """Make room for the links inside a folder, which are copied as links, as Docker does.

        Raises DockerfileError for one that leads out of the image's files, where it would find those of this computer.
        """
        for link in sorted(path for path in source.rglob("*") if path.is_symlink()):
            copy, target = place / link.relative_to(source), os.readlink(link)
            end = Path(os.path.normpath(copy.parent / target))
            if os.path.isabs(target) or not end.is_relative_to(self._root):
                shown = link.relative_to(self._folder)
                raise instruction.refuse(
                    f"{shown} is a link to {target}, which is not below WORKDIR; put the file there, or link to it "
                    "by a relative path"
                )
            if copy.is_symlink() or copy.is_file():
                copy.unlink()

    def _env(self, instruction: Instruction) -> None:
        for word in shlex.split(instruction.text):
            key, equals, value = word.partition("=")
            if not equals or key == "PATH":
                raise instruction.refuse("write KEY=VALUE; PATH is the virtual environment's without Docker")
            self._refuse_path(instruction, value)
            self._environment[key] = value

    def _set_entrypoint(self, instruction: Instruction) -> None:
        self._entrypoint = instruction.exec_form()
        for word in self._entrypoint:
            self._refuse_path(instruction, word)

    def _refuse_path(self, instruction: Instruction, word: str) -> None:
        """The image's files are in another place here, except those below `/opt/ml`."""
        if word.startswith("/") and word != BASE and not word.startswith(f"{BASE}/"):
            raise instruction.refuse(f"{word} is not there without Docker; give a path relative to WORKDIR")

    def _run(self, instruction: Instruction) -> None:
        words = shlex.split(instruction.text)
        if words[:2] != ["pip", "install"]:
            raise instruction.refuse(f"{words[0]!r} cannot be run without Docker; pip install -r FILE can")
        options: list[str] = []
        requirements: list[str] = []
        rest = iter(words[2:])
        for word in rest:
            if word == "-r":
                requirements.append(next(rest, ""))
            elif word == "--only-binary":
                options.append(f"{word}={next(rest, '')}")
            elif word in _PIP_FLAGS:
                options.append(word)
            elif word.startswith("-"):
                raise instruction.refuse(f"pip's {word} is not supported without Docker; {', '.join(_PIP_KNOWN)} are")
            else:
                raise instruction.refuse("install from a requirements file (-r FILE) only, so that versions are pinned")
        if len(requirements) != 1 or self._environment_id:
            raise instruction.refuse("run pip install once, from one requirements file")
        path = self._root / requirements[0]
        if not path.is_file():
            raise instruction.refuse(f"there is no {requirements[0]} in the image at this point; COPY it first")
        self._environment_id = _make_environment(path.read_text(), options, self._say)

    def _store(self, cache: Path) -> str:
        """Put the image into the cache under the digest of its content: paths, bytes and modes of its files, links."""
        image = Image(self._environment_id, self._entrypoint, self._environment, self._working_directory)
        content = hashlib.sha256(image.to_json().encode())
        for path in sorted(self._root.rglob("*")):
            content.update(path.relative_to(self._root).as_posix().encode() + b"\0")
            if path.is_symlink():
                content.update(b"link to " + os.fsencode(os.readlink(path)) + b"\0")
            elif path.is_file():
                content.update(hashlib.sha256(path.read_bytes()).digest())
                content.update(f"{stat.S_IMODE(path.stat().st_mode):o}\0".encode())
        name = content.hexdigest()
        folder = cache / "by-digest" / name
        with _locked(folder):
            if not (folder / "image.json").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                shutil.move(self._root, folder / "root")
                write_whole(folder / "image.json", image.to_json())
        return f"sha256:{name}"


def _make_environment(requirements: str, options: list[str], say: Callable[[str], None]) -> str:
    """The name of a virtual environment with these requirements in the cache; made when absent."""
    key = hashlib.sha256()
    for part in (sys.version, platform.machine(), sys.platform, *sorted(options), requirements):
        key.update(part.encode() + b"\0")
    name = key.hexdigest()[:24]
    folder = cache_dir() / "environments" / name
    with _locked(folder):
        if (folder / "complete").exists():
            say(f"environment {name} is in the cache")
            return name
        shutil.rmtree(folder, ignore_errors=True)
        say(f"environment {name} is installed (once)")
        variables = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        # Without pip inside: to unpack one takes longer than most installations, and ours can install there.
        make = [sys.executable, "-m", "venv", "--symlinks", "--without-pip", str(folder)]
        subprocess.run(make, check=True, env=variables)
        path = folder / "requirements.txt"
        path.write_text(requirements)
        linked = link_installed(path, folder)
        say(f"linked from the installed packages: {', '.join(linked) or 'none'}")
        # pip finds the linked ones installed, installs the others, and refuses a file that it would refuse in Docker.
        command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        command += ["--disable-pip-version-check", "install", "--quiet", "-r", str(path)]
        # The cache of pip is of use here: only an image must not contain it.
        command += [option for option in options if option != "--no-cache-dir"]
        if subprocess.run(command, check=False, env=variables).returncode:
            raise DockerfileError(
                "The image's packages could not be installed; what pip wrote above says why. See that the package "
                "index can be reached, and build again"
            )
        (folder / "complete").touch()
    return name


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two builds of the same content at the same time: the second waits for the first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
