"""The commands print what docs/guides/setup.md shows.

docs/guides/provisioning.md has each option.
"""

import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import BaseCommand, call_command

from replication.management.commands.provision import Command
from sandbox.ministack import MiniStack

DOCS = Path(settings.BASE_DIR) / "docs"
SETUP = (DOCS / "guides/setup.md").read_text()
PRINTED = re.compile(r"```console\n\$ \./manage\.py ([^\n]+)\n(.*?)```", re.DOTALL)


def printed(command: str) -> str:
    out = io.StringIO()
    try:
        call_command(*shlex.split(command), stdout=out)
    except SystemExit as leaving:
        assert leaving.code == 2
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_the_commands_of_the_setup_page_print_what_the_page_shows(
    aws: MiniStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    monkeypatch.chdir(tmp_path)
    region = "ap-east-1"
    s3: Any = aws.client("s3")
    s3.create_bucket(
        Bucket="example-photos", CreateBucketConfiguration={"LocationConstraint": region}
    )
    (rules,) = re.findall(r"```yaml\n(.*?)```", SETUP, re.DOTALL)
    Path("rules.yaml").write_text(rules)
    shown = PRINTED.findall(SETUP)
    assert len(shown) == 4
    for command, output in shown:
        found = printed(command).replace(aws.endpoint_url, f"https://sqs.{region}.amazonaws.com")
        assert found == output, command
    printed("provision --destroy --apply")
    s3.delete_bucket(Bucket="example-photos")


def test_every_option_and_exit_status_of_provision_is_documented() -> None:
    page = (DOCS / "guides/provisioning.md").read_text()
    parser = Command().create_parser("manage.py", "provision")
    of_all = BaseCommand().create_parser("manage.py", "provision")
    ours = parser._option_string_actions.keys() - of_all._option_string_actions.keys()
    assert ours == set(re.findall(r"^\| `(--\w+)", page, re.MULTILINE))
    assert set(re.findall(r"^\| (\d) \|", page, re.MULTILINE)) == {"0", "1", "2"}
