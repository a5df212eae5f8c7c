"""The access key of the account's root: each state directory has its own, which only its owner can read."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "keys.json"


@dataclass(frozen=True)
class Keys:
    """An access key and its secret, in AWS's form."""

    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """As the variables that every AWS SDK reads."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


def keys_of(state_dir: Path) -> Keys:
    """The keys of the local AWS in `state_dir`; made at the first call, the same after every restart."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state_dir.chmod(0o700)
    path = state_dir / _FILE
    if not path.exists():
        made = Keys(
            "AKIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
            base64.b64encode(secrets.token_bytes(30)).decode(),
        )
        draft = state_dir / f".{_FILE}-{os.getpid()}-{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(made)), encoding="utf-8")
        try:
            os.link(draft, path)  # of two processes that make keys at once, one wins, and both use its keys
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return Keys(**json.loads(path.read_text(encoding="utf-8")))
