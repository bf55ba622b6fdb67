"""Checks each rule from the settings to the destination: what is right, what is wrong, the fix.

Doctor changes nothing except an object of its own at the destination, which it deletes again, and
takes no message from a queue. docs/guides/doctor.md describes it.
"""

from replication.tools.doctor.checklist import examine
from replication.tools.doctor.findings import Check, CheckResults, Finding, Level

__all__ = ["Check", "CheckResults", "Finding", "Level", "examine"]
