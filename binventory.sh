#!/bin/sh
# The command line of this checkout, from any folder and in any shell: nothing needs to be activated.
#   ./binventory.sh doctor
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 3
if [ ! -x "$here/.venv/bin/binventory" ]; then
    echo "binventory is not installed in this checkout." >&2
    echo "Why: there is no $here/.venv/bin/binventory" >&2
    echo "Do:  run make setup in $here" >&2
    exit 3
fi
PATH="$here/.venv/bin:$PATH"
export PATH
exec "$here/.venv/bin/binventory" "$@"
