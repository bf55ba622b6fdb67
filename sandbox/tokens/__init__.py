"""Stand-ins for the services that give out temporary credentials, for tests on one machine.

AWS STS, the pod identity agent of EKS, Alibaba Cloud STS, and the metadata services of EC2 and ECS.
Each checks what the real one checks, and gives credentials that end after a stated time.
"""

from sandbox.tokens.issuing import Issued, Issuer
from sandbox.tokens.server import TokenServer, Trust

__all__ = ["Issued", "Issuer", "TokenServer", "Trust"]
