"""The variants' rules, and the access and the encryption that they give to each replica."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fidelity.keys import PREFIX
from tests.fidelity.places import OVERRIDE
from tests.fidelity.samples import Variant

KMS_KEY_ID = "0c2a8b5e-key-of-the-rule"


@dataclass(frozen=True)
class VariantRule:
    """The fields of the rule, and the access and the encryption of each of its replicas."""

    fields: Mapping[str, str] = field(default_factory=dict)
    acl: str = "default"
    encryption: Mapping[str, str] = field(default_factory=dict)

    @property
    def destination_prefix(self) -> str:
        return self.fields.get("destination_prefix", "")


VARIANTS = {
    Variant.FAIL: VariantRule(),
    Variant.DROP: VariantRule(
        {
            "key_policy": "skip",
            "metadata_policy": "drop",
            "tag_policy": "drop",
            "storage_classes": "natural",
            "acl": "public-read",
            "encryption": "AES256",
        },
        acl="public-read",
        encryption={"x-oss-server-side-encryption": "AES256"},
    ),
    Variant.REWRITE: VariantRule(
        {
            "key_policy": "rewrite",
            "metadata_policy": "rewrite",
            "tag_policy": "drop",
            "storage_classes": OVERRIDE,
            "acl": "private",
            "encryption": "KMS",
            "kms_key_id": KMS_KEY_ID,
        },
        acl="private",
        encryption={
            "x-oss-server-side-encryption": "KMS",
            "x-oss-server-side-encryption-key-id": KMS_KEY_ID,
        },
    ),
    Variant.LENIENT: VariantRule(),
    Variant.PREFIX: VariantRule(
        {
            "destination_prefix": PREFIX,
            "key_policy": "rewrite",
            "acl": "public-read-write",
            "encryption": "SM4",
        },
        acl="public-read-write",
        encryption={"x-oss-server-side-encryption": "SM4"},
    ),
}
