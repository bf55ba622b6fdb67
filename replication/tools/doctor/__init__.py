"""Walks the whole road of each rule, and says what is right, what is wrong, and the fix.

It changes nothing but an object of its own at the destination, which it deletes again; it takes no
message from a queue. docs/guides/doctor.md describes it.
"""

from replication.tools.doctor.checklist import examine
from replication.tools.doctor.findings import Check, Examined, Finding, Level

__all__ = ["Check", "Examined", "Finding", "Level", "examine"]
