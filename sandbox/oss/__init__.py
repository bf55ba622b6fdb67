"""A strict stand-in for Alibaba Cloud OSS, for the demo and the tests."""

from sandbox.oss.faults import Fault
from sandbox.oss.permissions import Denial
from sandbox.oss.requestlog import LoggedRequest
from sandbox.oss.server import OssServer

__all__ = ["Denial", "Fault", "LoggedRequest", "OssServer"]
