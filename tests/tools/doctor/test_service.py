"""What doctor says of the way to the database."""

import pytest

from replication.tools.doctor.service import _risk_on_the_way


@pytest.mark.parametrize(
    ("address", "has_tls", "sslmode", "risk"),
    [
        ("", False, "prefer", ""),
        ("127.0.0.1", False, "disable", ""),
        ("::1", False, "prefer", ""),
        ("10.20.0.5", True, "verify-full", ""),
        ("10.20.0.5", True, "verify-ca", ""),
        ("10.20.0.5", False, "prefer", "no TLS"),
        ("fd00:20::5", False, "disable", "no TLS"),
        ("10.20.0.5", True, "require", "does not check whose it is"),
        ("2001:db8::5", True, "prefer", "does not check whose it is"),
    ],
)
def test_the_way_to_the_database(address: str, has_tls: bool, sslmode: str, risk: str) -> None:
    found = _risk_on_the_way(address, has_tls=has_tls, sslmode=sslmode)
    assert (risk in found) if risk else (found == "")
