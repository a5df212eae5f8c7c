"""One stored resource, and the one way to change it while it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

from local_aws.core.context import Context
from local_aws.core.protocol import Document


class Record(ABC):
    """A stored resource with a status. Each change is stored and then announced on EventBridge.

    Args:
        context: the local AWS.
        family: its table, for example `ProcessingJob`; its status is the member `ProcessingJobStatus`.
        key: its key there.
    """

    def __init__(self, context: Context, family: str, key: str) -> None:
        self._context = context
        self._table = context.table(family)
        self._family = family
        self._status = f"{family}Status"
        self.key = key

    def read(self) -> Document:
        """The resource as stored now."""
        return self._existing(self._table.get(self.key))

    def change(
        self,
        alter: Callable[[Document], None] | None = None,
        *,
        only_from: str | Collection[str] | None = None,
        **members: object,
    ) -> bool:
        """Change the stored resource; returns whether it was changed.

        Args:
            alter: changes the document in place, after `members` are set.
            only_from: a status, or several: in any other status nothing is changed.
            members: members to set; None leaves a member as it is.
        """
        allowed = (only_from,) if isinstance(only_from, str) else only_from
        previous: list[str] = []

        def change(stored: Document) -> None:
            if allowed is not None and stored[self._status] not in allowed:
                return
            previous.append(stored[self._status])
            stored["LastModifiedTime"] = self._context.now()
            stored.update({name: value for name, value in members.items() if value is not None})
            if alter is not None:
                alter(stored)

        document = self._existing(self._table.update(self.key, change))
        if previous:
            self.announce(document, previous[0])
        return bool(previous)

    @abstractmethod
    def announce(self, document: Document, previous: str | None) -> None:
        """Send the event that AWS sends when the resource changes.

        Args:
            document: the resource after the change.
            previous: its status before the change; None for a new resource.
        """

    def missing(self) -> Exception:
        """What `read` and `change` raise when the resource is not in the store."""
        return KeyError(f"{self._family} {self.key} is not in the store")

    def _existing(self, document: Document | None) -> Document:
        if document is None:
            raise self.missing()
        return document
