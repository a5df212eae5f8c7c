#!/bin/sh
# The command line of this checkout, from any folder and in any shell: nothing needs to be activated.
#   ./binventory.sh doctor
script=$0
# A link to this file may lie anywhere, such as in ~/bin: the checkout is where the file itself is.
while [ -L "$script" ]; do
    target=$(readlink "$script") || exit 3
    case $target in
        /*) script=$target ;;
        *) script=$(dirname -- "$script")/$target ;;
    esac
done
here=$(CDPATH='' cd -- "$(dirname -- "$script")" && pwd -P) || exit 3
if [ ! -x "$here/.venv/bin/binventory" ]; then
    echo "binventory is not installed in this checkout." >&2
    echo "Why: there is no $here/.venv/bin/binventory" >&2
    echo "Do:  run make setup in $here" >&2
    exit 3
fi
PATH="$here/.venv/bin:$PATH"
export PATH
exec "$here/.venv/bin/binventory" "$@"
