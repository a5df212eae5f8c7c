"""The entry point of `make setup`: checks the interpreter, then installs. Python 3.6 can still read this file.

    python3 environment/start.py [--named] [--dev] [--torch auto|configured|index|pypi] [--torch-index URL]

`--named` means that the user chose this interpreter. Without it, the interpreter of the environment installs if this
one is not supported. Exits with 1 and the cure if neither is supported.
"""

import os
import subprocess
import sys
import sysconfig

OLDEST = (3, 11)
NEWEST = (3, 14)
# torchvision 0.28.0 refuses it (its Requires-Python).
BROKEN = (3, 14, 1)
WANTED = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def complaint(version: "tuple[int, ...]", implementation: str = "cpython", free_threaded: bool = False) -> str:
    """Why an interpreter of this version is not supported; empty if it is."""
    found = f"found {implementation} {'.'.join(str(part) for part in version[:3])}"
    if implementation != "cpython" or not OLDEST <= tuple(version[:2]) <= NEWEST:
        return found
    if free_threaded:
        return f"{found} without a global interpreter lock, for which packages lack wheels"
    if tuple(version[:3]) == BROKEN:
        return f"{found}, which torchvision refuses; take a newer patch release"
    return ""


def of_this_interpreter() -> str:
    """`complaint` about the interpreter that runs this file."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    return complaint(tuple(sys.version_info[:3]), sys.implementation.name, free_threaded)


def is_wanted(command: str) -> bool:
    """Whether a command starts a supported Python."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import start; sys.exit(bool(start.of_this_interpreter()))"
    try:
        done = subprocess.run(
            [command, "-c", program, os.path.join(ROOT, "environment")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return done.returncode == 0


def main() -> int:
    """Install with this interpreter or with the environment's; if neither is supported, print what to do."""
    wrong = of_this_interpreter()
    if not wrong:
        sys.path[0] = ROOT
        from environment.install import main as install

        return install(sys.argv[1:])
    kept = os.path.join(ROOT, ".venv", "bin", "python")
    if "--named" not in sys.argv and is_wanted(kept):
        # In the place of this process, which Ctrl-C would end with a traceback.
        os.execv(kept, [kept, *sys.argv])
    names = [f"python{OLDEST[0]}.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    there = [name for name in names if is_wanted(name)]
    sys.stderr.write(f"CPython {WANTED} is needed, {wrong} ({sys.executable}).\n")
    first = "Choose another" if there else "Install one, then choose it"
    sys.stderr.write(f"{first}: make PYTHON={there[0] if there else 'python3.12'} setup\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
