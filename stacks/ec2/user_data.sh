# Runs one training on this machine and then ends the machine, however the training ends.
# Power off means terminated: the launch template says so.
set -uo pipefail
umask 077
root=${BINVENTORY_ROOT:-/opt/binventory}
python=${BINVENTORY_PYTHON:-/opt/pytorch/bin/python}

# The brake comes first and needs nothing that could fail or hang later.
shutdown -P "+$BRAKE_MINUTES"
trap 'shutdown -P now' EXIT
trap 'exit 143' TERM INT HUP

mkdir -p "$root/code"
exec >>"$root/log.txt" 2>&1

copy() {
  "$python" -c '
import sys, urllib.parse, boto3
way, path, uri = sys.argv[1:]
parts = urllib.parse.urlsplit(uri)
s3 = boto3.client("s3")
key = parts.path.lstrip("/")
s3.download_file(parts.netloc, key, path) if way == "down" else s3.upload_file(path, parts.netloc, key)
' "$@"
}

give_up() {
  echo "gave up: $1"
  copy up "$root/log.txt" "$EXECUTIONS_URI/ec2-machines/$(hostname)-log.txt"
  exit 1
}

echo "the code is $CODE_URI"
copy down "$root/code.tar.gz" "$CODE_URI" || give_up "the code could not be fetched"
tar --extract --gzip --no-same-owner --file "$root/code.tar.gz" --directory "$root/code" || give_up "the code could not be unpacked"
timeout 900 "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
  --require-hashes --requirement "$root/code/requirements.txt" || give_up "the packages could not be installed"

# The script ends itself at its limit; a script that cannot is ended here, and the brake above is behind both.
timeout --signal=TERM --kill-after=90 "$LIMIT_SECONDS" \
  "$python" "$root/code/spot_machine.py" --executions "$EXECUTIONS_URI" --root "$root" --minutes "$MAX_MINUTES" \
  || give_up "the run did not end well"
