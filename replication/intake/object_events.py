"""An event of an object, in whatever message it came. Pure."""

from dataclasses import dataclass
from enum import Enum

_CHANGES = ("ObjectCreated", "ObjectRemoved", "LifecycleExpiration", "ObjectRestore:Completed")
_CHANGES_OF_TAGS = ("ObjectTagging:",)


class Change(Enum):
    """What of an object an event says may have changed."""

    NOTHING = "nothing"  # nothing that a replica has
    TAGS = "tags only"
    OBJECT = "object"  # a GET of the key may return something else than before


@dataclass(frozen=True)
class ObjectEvent:
    """Something happened to this key of this bucket."""

    bucket: str
    key: str
    name: str  # S3's event name without "s3:", e.g. "ObjectCreated:Put"

    @property
    def change(self) -> Change:
        """What of the object may have changed."""
        if self.name.startswith(_CHANGES):
            return Change.OBJECT
        return Change.TAGS if self.name.startswith(_CHANGES_OF_TAGS) else Change.NOTHING
