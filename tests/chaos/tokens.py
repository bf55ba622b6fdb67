"""Temporary credentials of four kinds in a chaos run, which end all the time.

S3 is read as an assumed role. One destination is written to as an assumed role, the other with the
profile `default`: by every other cluster as the role of an ECS instance, and by the rest as the
role of a pod. S3 and OSS refuse credentials that have ended. Now and then all token services are
away for a while.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.environment import Sandbox
from sandbox.tokens import Issued, TokenServer
from sandbox.tokens.alibaba import ASSUMED as ALIBABA_ASSUMED
from sandbox.tokens.alibaba import ECS_ROLE, OIDC
from sandbox.tokens.aws import ASSUMED as AWS_ASSUMED
from tests.chaos.oss_control import OssControl
from tests.chaos.rules import SECOND, Rule, Rules
from tests.support import tokens

KINDS = (ECS_ROLE, OIDC, ALIBABA_ASSUMED, AWS_ASSUMED)
RULES: Rules = (Rule("mirror"), Rule("second", SECOND))
PROFILES = {"source": "reader", SECOND: "writer"}  # by the name of the place
# Shorter than from a renewal to the end of the credentials.
AWAY_SHARE_OF_LIFE = 0.25


class Tokens:
    """The token services, until the context ends."""

    def __init__(
        self, sandbox: Sandbox, oss: OssControl, *, life_seconds: float, directory: Path
    ) -> None:
        self._oss = oss
        self._life_seconds = life_seconds
        self._directory = directory
        tls, self._authority = tokens.certificate(directory)
        self.server = TokenServer(
            tokens.a_trust(),
            life_seconds=life_seconds,
            tls=tls,
            tell=self._tell,
            s3_url=sandbox.aws.endpoint_url,
            s3_key_id=sandbox.aws.access_key_id,
        )
        self._comes_back: threading.Timer | None = None

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._comes_back is not None:
            self._comes_back.cancel()
        self.server.__exit__(kind, error, trace)

    @property
    def settings(self) -> dict[str, str]:
        """Variables of all processes; none has an access key for OSS."""
        return {
            "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "",
            "OSS_ACCESS_KEY_ID": "",
            "OSS_ACCESS_KEY_SECRET": "",
            # A request that was signed in time may come late on a slow machine, and be refused.
            "S3SYNC_PROBE_SECONDS": "2",
            "S3SYNC_CA_BUNDLE": str(self._authority),
            "AWS_ENDPOINT_URL_STS": self.server.url,
            **_profile("reader", role_arn=tokens.AWS_ROLE),
            **_profile("writer", role_arn=tokens.RAM_ROLE, sts_endpoint=self.server.tls_host),
        }

    def of_hosts(self, clusters: list[str]) -> Mapping[str, Mapping[str, str]]:
        """Variables of each cluster, for its profile `default`."""
        token = self._directory / "pod-token"
        token.write_text(tokens.POD_TOKEN)
        kinds = (
            # Leads 100.100.100.200 to the stand-in.
            {"HTTP_PROXY": self.server.url, "NO_PROXY": "127.0.0.1,localhost"},
            {
                "ALIBABA_CLOUD_ROLE_ARN": tokens.RAM_ROLE,
                "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": tokens.OIDC_PROVIDER,
                "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(token),
                "S3SYNC_PROFILE_DEFAULT_STS_ENDPOINT": self.server.tls_host,
            },
        )
        return {name: kinds[number % 2] for number, name in enumerate(clusters)}

    def strikes(self) -> Mapping[str, Callable[[random.Random], str]]:
        """The further kind of strikes."""
        return {"tokens-away": self._go_away}

    def counts(self) -> str:
        """How many credentials each kind issued, and how many requests came with ended ones."""
        issued = " ".join(f"{kind}={len(self.server.issuer.of_kind(kind))}" for kind in KINDS)
        refused = Counter(self.server.refused_s3) + Counter(self._oss.refused_credentials())
        return f"credentials issued: {issued}; refused: {dict(refused) or 'none'}"

    @property
    def are_renewed(self) -> bool:
        """Whether each kind was issued again."""
        return all(len(self.server.issuer.of_kind(kind)) >= 2 for kind in KINDS)

    def _go_away(self, chance: random.Random) -> str:
        seconds = self._life_seconds * AWAY_SHARE_OF_LIFE * chance.uniform(0.3, 1)
        self.server.is_down = True
        self._comes_back = threading.Timer(seconds, self._come_back)
        self._comes_back.start()
        return f"all token services, for {seconds:.1f} s"

    def _come_back(self) -> None:
        self.server.is_down = False

    def _tell(self, issued: Issued) -> None:
        self._oss.set_key(issued.key_id, issued.secret, token=issued.token, ends_at=issued.ends_at)


def _profile(name: str, **values: str) -> dict[str, str]:
    values |= {
        "access_key_id": tokens.KEY_ID,
        "access_key_secret": tokens.KEY_SECRET,
        "external_id": tokens.EXTERNAL_ID,
    }
    prefix = f"S3SYNC_PROFILE_{name.upper()}_"
    return {prefix + field.upper(): value for field, value in values.items()}
