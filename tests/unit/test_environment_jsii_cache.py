"""The folder in which the CDK's library is kept unpacked, which jsii refuses if others may write to it.

Set-up refuses what jsii refuses, and takes what jsii takes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from environment import jsii_cache
from environment.errors import SetupError

# The first process creates the folder. The second looks at it.
_TWICE = (
    "import subprocess, sys; [subprocess.run([sys.executable, '-c', 'import constructs'], check=True) for _ in '12']"
)
_REFUSED = "Cannot use the jsii package cache"


def jsii(home: Path, **variables: str) -> str:
    """What two processes in turn print that use the CDK's library as the user of this home, with a umask of 002."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JSII_RUNTIME_PACKAGE_CACHE")}
    command = [sys.executable, "-c", _TWICE]
    done = subprocess.run(
        command,
        env={**kept, "HOME": str(home), **variables},
        umask=0o002,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def test_a_home_without_a_cache_gets_a_private_one(tmp_path: Path) -> None:
    jsii_cache.prepare({"HOME": str(tmp_path)}, "Linux")
    assert (tmp_path / ".cache").stat().st_mode & 0o777 == 0o700
    if sys.platform == "linux":
        assert jsii(tmp_path) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="jsii has its folder below Library on a Mac")
def test_a_cache_that_the_group_may_write_to_is_refused_as_jsii_refuses_it(tmp_path: Path) -> None:
    """As pip makes it, where the umask is 002. The cure that is printed is enough."""
    cache = tmp_path / ".cache"
    cache.mkdir()
    cache.chmod(0o775)
    with pytest.raises(SetupError) as refused:
        jsii_cache.prepare({"HOME": str(tmp_path)})
    assert f"{cache} is writable by its group or others (mode 0775)" in refused.value.what
    assert _REFUSED in jsii(tmp_path)

    cure = refused.value.cure.removeprefix("run: ").partition(",")[0]
    assert cure == f"chmod go-w {cache}"
    subprocess.run(cure, shell=True, check=True)
    jsii_cache.prepare({"HOME": str(tmp_path)})
    assert jsii(tmp_path) == ""


@pytest.mark.parametrize("variable", ["JSII_RUNTIME_PACKAGE_CACHE_ROOT", "JSII_RUNTIME_PACKAGE_CACHE"])
def test_a_folder_that_the_user_named_is_not_looked_at(tmp_path: Path, variable: str) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache").chmod(0o777)
    value = {"JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(tmp_path / "mine"), "JSII_RUNTIME_PACKAGE_CACHE": "disabled"}
    jsii_cache.prepare({"HOME": str(tmp_path), variable: value[variable]})
    assert jsii(tmp_path, **{variable: value[variable]}) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("owned", [".cache", ".cache/aws/jsii/package-cache"])
def test_a_cache_of_another_user_is_refused(tmp_path: Path, owned: str) -> None:
    """As sudo leaves them, the other way round."""
    (tmp_path / ".cache/aws/jsii/package-cache").mkdir(parents=True, mode=0o700)
    os.chown(tmp_path / owned, 65534, -1)
    with pytest.raises(SetupError, match=r"belongs to another user \(uid 65534\)") as refused:
        jsii_cache.prepare({"HOME": str(tmp_path)}, "Linux")
    assert refused.value.cure.startswith("set JSII_RUNTIME_PACKAGE_CACHE_ROOT")


@pytest.mark.parametrize("home", ["", "relative", "/proc/nowhere"])
def test_a_home_that_is_none_is_left_to_jsii(home: str) -> None:
    jsii_cache.prepare({"HOME": home})
