"""Builds images without a container engine: copied files in a folder, pip's packages in a virtual environment.

The virtual environment is named by what goes into it (interpreter, platform, requirements file, options), so a second
build, in any checkout that shares the cache, installs nothing.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from local_aws.images.cache import Image, cache_dir
from local_aws.images.dockerfile import Instruction, expand, pairs, parse

_IGNORED = {"LABEL", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL", "SHELL", "HEALTHCHECK", "MAINTAINER"}
_ACCOUNT_COMMANDS = {"useradd", "groupadd", "adduser", "addgroup", "chown", "chmod"}
_PIP_REFUSED = {"--target", "-t", "--prefix", "--root", "--user"}
_NO_ENVIRONMENT = ""


@dataclass
class _Stage:
    """A build stage under way."""

    root: Path
    name: str
    environment_id: str = _NO_ENVIRONMENT
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    directories: set[str] = field(default_factory=set)
    environment_paths: set[str] = field(default_factory=set)

    def inside(self, path: str) -> str:
        """A path of the image, absolute."""
        return os.path.normpath(PurePosixPath(self.working_directory, path))

    def outside(self, path: str) -> Path:
        """Where a path of the image is on disk."""
        return self.root / self.inside(path).lstrip("/")


class ImageBuilder:
    """One build of one Dockerfile.

    Args:
        folder: the build context.
        dockerfile: relative to it.
        arguments: `--build-arg` values.
        target: the last stage to build; the file's last one when None.
        say: receives one line for each step.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dockerfile: str = "Dockerfile",
        arguments: Mapping[str, str] | None = None,
        target: str | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._folder = folder.resolve()
        self._instructions = parse(self._folder / dockerfile)
        self._arguments = dict(arguments or {})
        self._target = target
        self._say = say
        self._stages: list[_Stage] = []
        self._ignored = _dockerignore(self._folder, dockerfile)

    def build(self) -> str:
        """Carry out the Dockerfile; returns the image's digest (`sha256:...`). Raises `DockerfileError`."""
        cache = cache_dir()
        (cache / "by-digest").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as scratch:
            global_arguments: dict[str, str] = {}
            for instruction in self._instructions:
                if instruction.name == "FROM":
                    if self._stages and self._stages[-1].name == self._target:
                        break
                    self._from(instruction, Path(scratch), global_arguments)
                elif not self._stages:
                    global_arguments |= {key: self._arguments.get(key, value) for key, value in pairs(instruction)}
                else:
                    self._say(f"{instruction.name} {instruction.text}")
                    self._carry_out(instruction, self._stages[-1])
            return _store(self._stages[-1], cache)

    def _carry_out(self, instruction: Instruction, stage: _Stage) -> None:
        handlers: dict[str, Callable[[Instruction, _Stage], None]] = {
            "ARG": self._arg,
            "ENV": self._env,
            "WORKDIR": self._workdir,
            "COPY": self._copy,
            "RUN": self._run,
            "ENTRYPOINT": self._entrypoint,
            "CMD": self._cmd,
        }
        if instruction.name not in _IGNORED:
            handlers[instruction.name](instruction, stage)

    def _from(self, instruction: Instruction, scratch: Path, arguments: dict[str, str]) -> None:
        words = expand(instruction.text, arguments).split()
        name = words[2] if len(words) == 3 and words[1].upper() == "AS" else str(len(self._stages))
        parent = next((stage for stage in self._stages if stage.name == words[0]), None)
        root = scratch / f"stage-{len(self._stages)}"
        if parent is None:
            if not words[0].split("/")[-1].startswith("python"):
                raise instruction.refuse("only python images can be stood in for without Docker")
            root.mkdir()
            stage = _Stage(root, name)
        else:
            shutil.copytree(parent.root, root)
            stage = _Stage(**{**vars(parent), "root": root, "name": name})
            for attribute in ("environment", "arguments", "directories", "environment_paths"):
                setattr(stage, attribute, getattr(parent, attribute).copy())
        self._say(f"FROM {words[0]} (stands for it: python {platform.python_version()})")
        self._stages.append(stage)

    def _variables(self, stage: _Stage) -> dict[str, str]:
        return stage.arguments | stage.environment

    def _arg(self, instruction: Instruction, stage: _Stage) -> None:
        for key, value in pairs(instruction):
            stage.arguments[key] = self._arguments.get(key, expand(value, self._variables(stage)))

    def _env(self, instruction: Instruction, stage: _Stage) -> None:
        for key, value in pairs(instruction):
            if key != "PATH":  # the virtual environment's programs come first anyway
                stage.environment[key] = expand(value, self._variables(stage))

    def _workdir(self, instruction: Instruction, stage: _Stage) -> None:
        stage.working_directory = stage.inside(expand(instruction.text, self._variables(stage)))
        stage.outside(".").mkdir(parents=True, exist_ok=True)
        stage.directories.add(stage.working_directory)

    def _entrypoint(self, instruction: Instruction, stage: _Stage) -> None:
        stage.entrypoint = tuple(instruction.exec_form() or ["/bin/sh", "-c", instruction.text])
        stage.command = ()

    def _cmd(self, instruction: Instruction, stage: _Stage) -> None:
        stage.command = tuple(instruction.exec_form() or ["/bin/sh", "-c", instruction.text])

    def _copy(self, instruction: Instruction, stage: _Stage) -> None:
        unknown = set(instruction.flags) - {"from", "chown", "chmod", "link"}
        if unknown:
            raise instruction.refuse(f"option --{min(unknown)} is not supported without Docker")
        *sources, target = (expand(word, self._variables(stage)) for word in instruction.words())
        if not sources:
            raise instruction.refuse("COPY needs a source and a target")
        if "from" in instruction.flags:
            self._copy_from_stage(instruction, stage, sources, target)
            return
        found = [path for source in sources for path in self._matches(source)]
        if not found:
            raise instruction.refuse(f"nothing in {self._folder.name}/ matches")
        into_folder = target.endswith("/") or target == "." or len(found) > 1 or stage.outside(target).is_dir()
        for path in found:
            if path.is_dir():
                shutil.copytree(path, stage.outside(target), dirs_exist_ok=True, ignore=self._ignore)
            else:
                place = stage.outside(target) / path.name if into_folder else stage.outside(target)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)
        self._remember(stage, target, into_folder or any(path.is_dir() for path in found))

    def _copy_from_stage(self, instruction: Instruction, stage: _Stage, sources: list[str], target: str) -> None:
        wanted = instruction.flags["from"]
        names = {other.name: other for other in self._stages[:-1]} | {
            str(index): other for index, other in enumerate(self._stages[:-1])
        }
        if wanted not in names:
            raise instruction.refuse(f"there is no earlier stage {wanted}")
        origin = names[wanted]
        for source in sources:
            path = origin.outside(source)
            if origin.environment_id and any(_within(origin.inside(source), p) for p in origin.environment_paths):
                stage.environment_id = origin.environment_id
                stage.environment_paths.add(stage.inside(target))
            elif path.is_dir():
                shutil.copytree(path, stage.outside(target), dirs_exist_ok=True)
                self._remember(stage, target, True)
            elif path.is_file():
                place = stage.outside(target) / path.name if target.endswith("/") else stage.outside(target)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)
                self._remember(stage, target, target.endswith("/"))
            else:
                raise instruction.refuse(f"stage {wanted} has no {source}")

    def _remember(self, stage: _Stage, target: str, is_folder: bool) -> None:
        inside = stage.inside(target)
        stage.directories.add(inside if is_folder else os.path.dirname(inside))

    def _matches(self, source: str) -> list[Path]:
        if source in {".", "./"}:
            return [self._folder]
        found = sorted(self._folder.glob(source.lstrip("/").removeprefix("./")))
        for path in found:
            if not path.resolve().is_relative_to(self._folder):
                return []
        return [path for path in found if not self._is_ignored(path)]

    def _is_ignored(self, path: Path) -> bool:
        relative = path.relative_to(self._folder).as_posix()
        return any(fnmatch.fnmatch(relative, pattern) for pattern in self._ignored)

    def _ignore(self, folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "__pycache__" or self._is_ignored(Path(folder) / name)}

    def _run(self, instruction: Instruction, stage: _Stage) -> None:
        if set(instruction.flags) - {"mount"} or "type=cache" not in instruction.flags.get("mount", "type=cache"):
            raise instruction.refuse("RUN takes no option here but --mount=type=cache")
        exec_form = instruction.exec_form()
        commands = [exec_form] if exec_form else _shell_commands(instruction)
        for command in commands:
            self._run_command(instruction, stage, [expand(word, self._variables(stage)) for word in command])

    def _run_command(self, instruction: Instruction, stage: _Stage, words: list[str]) -> None:
        pip = _pip_arguments(words)
        if pip is not None:
            self._pip_install(instruction, stage, pip)
        elif words[0] == "mkdir":
            for folder in (word for word in words[1:] if not word.startswith("-")):
                stage.outside(folder).mkdir(parents=True, exist_ok=True)
                self._remember(stage, folder, True)
        elif words[1:3] == ["-m", "venv"] and words[0].startswith("python"):
            stage.environment_paths.add(stage.inside(words[-1]))
        elif words[0] not in _ACCOUNT_COMMANDS and words[1:3] != ["-m", "compileall"]:
            raise instruction.refuse(
                f"{words[0]!r} cannot be run without Docker; known: pip install -r FILE, python -m venv, mkdir, "
                + ", ".join(sorted(_ACCOUNT_COMMANDS))
            )

    def _pip_install(self, instruction: Instruction, stage: _Stage, arguments: list[str]) -> None:
        refused = [word for word in arguments if word.partition("=")[0] in _PIP_REFUSED]
        if refused:
            raise instruction.refuse(f"pip's {refused[0]} is not supported without Docker")
        files, options = _split_requirements(arguments)
        if not files or any(not word.startswith("-") for word in options):
            raise instruction.refuse("install from a requirements file (-r FILE) only, so that versions are pinned")
        contents = []
        for name in files:
            path = stage.outside(name)
            if not path.is_file():
                raise instruction.refuse(f"there is no {name} in the image at this point; COPY it first")
            contents.append(path.read_text())
        if stage.environment_id:
            raise instruction.refuse("one pip install a stage; put everything into one requirements file")
        stage.environment_id = _environment(contents, options, self._say)
        stage.environment_paths |= {"/usr/local", "/opt/venv"}


def _environment(requirements: list[str], options: list[str], say: Callable[[str], None]) -> str:
    """The name of a virtual environment with these requirements in the cache; made when absent."""
    key = hashlib.sha256()
    for part in (sys.version, platform.machine(), sys.platform, *sorted(options), *requirements):
        key.update(part.encode() + b"\0")
    name = key.hexdigest()[:24]
    folder = cache_dir() / "environments" / name
    with _locked(folder):
        if (folder / "complete").exists():
            say(f"environment {name} is in the cache")
            return name
        shutil.rmtree(folder, ignore_errors=True)
        say(f"environment {name} is installed (once)")
        # Without a pip of its own: unpacking one takes longer than most installations, and ours can install there.
        make = [sys.executable, "-m", "venv", "--symlinks", "--without-pip", str(folder)]
        subprocess.run(make, check=True, env=_pip_environment())
        arguments: list[str] = []
        for index, text in enumerate(requirements):
            path = folder / f"requirements-{index}.txt"
            path.write_text(text)
            arguments += ["-r", str(path)]
        command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        command += ["--disable-pip-version-check", "install", "--quiet"]
        keep = [option for option in options if option not in {"--quiet", "-q", "--no-cache-dir"}]
        subprocess.run([*command, *keep, *arguments], check=True, env=_pip_environment())
        (folder / "complete").touch()
    return name


def _pip_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two builds of the same thing at the same time: the second waits for the first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _store(stage: _Stage, cache: Path) -> str:
    """Put a finished stage into the cache under the digest of everything in it."""
    image = Image(
        environment_id=stage.environment_id,
        entrypoint=stage.entrypoint,
        command=stage.command,
        environment=dict(sorted(stage.environment.items())),
        working_directory=stage.working_directory,
        directories=tuple(sorted(stage.directories - {"/"})),
    )
    content = hashlib.sha256(image.to_json().encode())
    for path in sorted(stage.root.rglob("*")):
        content.update(path.relative_to(stage.root).as_posix().encode() + b"\0")
        if path.is_file():
            content.update(hashlib.sha256(path.read_bytes()).digest())
    name = content.hexdigest()
    folder = cache / "by-digest" / name
    with _locked(folder):
        if not (folder / "image.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            shutil.move(stage.root, folder / "root")
            (folder / "image.json").write_text(image.to_json())
    return f"sha256:{name}"


def _shell_commands(instruction: Instruction) -> list[list[str]]:
    if any(sign in instruction.text for sign in ("|", ";", ">", "<", "`", "$(")):
        raise instruction.refuse("only commands joined by && can be carried out without Docker")
    return [shlex.split(command) for command in instruction.text.split("&&")]


def _pip_arguments(words: list[str]) -> list[str] | None:
    """What follows `pip install`, in whichever way pip is called; None when it is another command."""
    name = PurePosixPath(words[0]).name
    if name.startswith("python") and words[1:3] == ["-m", "pip"]:
        words, name = words[2:], "pip"
    if not name.startswith("pip"):
        return None
    rest = words[1:]
    while rest and rest[0].startswith("-"):
        rest = rest[1:]
    return rest[1:] if rest[:1] == ["install"] else None


def _split_requirements(arguments: list[str]) -> tuple[list[str], list[str]]:
    files, options = [], []
    words = iter(arguments)
    for word in words:
        if word in {"-r", "--requirement"}:
            files.append(next(words, ""))
        elif word.startswith("--requirement="):
            files.append(word.partition("=")[2])
        elif word in {"--only-binary", "--no-binary"}:
            options.append(f"{word}={next(words, '')}")
        else:
            options.append(word)
    return files, options


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _dockerignore(folder: Path, dockerfile: str) -> list[str]:
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        path = folder / name
        if path.is_file():
            lines = [line.strip().strip("/") for line in path.read_text().splitlines()]
            patterns = [line for line in lines if line and not line.startswith(("#", "!"))]
            return [
                form for line in patterns for form in (line.removeprefix("**/"), line, f"*/{line.removeprefix('**/')}")
            ]
    return []
