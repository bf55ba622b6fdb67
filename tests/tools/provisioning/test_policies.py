"""The policies allow only what is called, and statements of others are never changed."""

import json
from typing import Any

from replication.models import Destination, ReplicationRule, Source, SourceKind
from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.policies import (
    OWNER,
    RECEIVE,
    SEND,
    allowed_buckets,
    iam_statements,
    owner_statement,
    ram_statements,
    receive_statement,
    receiver,
    replace_statements,
    send_statement,
)

QUEUE = QueueAddress("ap-east-1", "123456789012", "s3sync")
ROLE = "arn:aws:iam::123456789012:role/s3sync"
THEIRS = {
    "Sid": "theirs",
    "Effect": "Allow",
    "Principal": {"Service": "events.amazonaws.com"},
    "Action": "sqs:SendMessage",
    "Resource": QUEUE.arn,
}
DESTINATION = Destination(name="d", bucket="replica", endpoint="https://o", region="cn-hangzhou")


def rule(bucket: str = "photos", region: str = "ap-east-1", **fields: Any) -> ReplicationRule:
    source = Source(name=bucket, bucket=bucket, region=region)
    return ReplicationRule(name="r", source=source, destination=DESTINATION, **fields)


def granted(statements: list[dict[str, Any]], action: str) -> list[str]:
    """The resources on which an action is allowed."""
    return [
        resource
        for statement in statements
        if action in statement["Action"]
        for resource in statement["Resource"]
    ]


def test_s3_may_send_only_for_these_buckets_of_this_account() -> None:
    statement = send_statement(QUEUE, {"photos", "documents"})
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": ["arn:aws:s3:::documents", "arn:aws:s3:::photos"]},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }


def test_the_receiving_role_may_receive_delete_and_hide_and_nothing_else() -> None:
    assert receive_statement(QUEUE, ROLE)["Action"] == [
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
    ]


def test_our_statements_are_added_beside_those_of_others_and_removed_again() -> None:
    twin = {**THEIRS, "Effect": "Deny"}  # a Sid may be repeated or missing
    theirs = [THEIRS, twin, {key: twin[key] for key in twin if key != "Sid"}]
    policy = json.dumps({"Version": "2008-10-17", "Statement": theirs})
    ours = {
        OWNER: owner_statement(QUEUE),
        SEND: send_statement(QUEUE, {"photos"}),
        RECEIVE: receive_statement(QUEUE, ROLE),
    }
    added = replace_statements(policy, ours)
    assert json.loads(added)["Statement"] == [*theirs, *ours.values()]
    assert (allowed_buckets(added), receiver(added)) == ({"photos"}, ROLE)
    assert json.loads(replace_statements(added, dict.fromkeys(ours))) == json.loads(policy)
    assert replace_statements("", dict.fromkeys(ours)) == ""


def test_a_statement_in_the_form_of_aws_is_no_change() -> None:
    ours = {SEND: send_statement(QUEUE, {"a", "b"}), RECEIVE: receive_statement(QUEUE, ROLE)}
    document = json.loads(replace_statements("", ours))
    send, receive = document["Statement"]
    send["Condition"]["ArnEquals"]["aws:SourceArn"].reverse()
    receive["Principal"] = {"AWS": [ROLE]}
    policy = json.dumps(document, indent=4)
    assert replace_statements(policy, ours) is policy


def test_the_service_may_read_objects_and_list_buckets_so_that_a_missing_object_is_a_404() -> None:
    rules = [
        rule(source_prefix="a/"),
        rule(source_prefix="a/b/", archive_policy="restore"),
        rule("documents", region="cn-north-1"),
        ReplicationRule(
            name="web",
            source=Source(kind=SourceKind.HTTP, endpoint_url="https://www.example.com"),
            destination=DESTINATION,
        ),
    ]
    statements = iam_statements(rules, [QUEUE])
    assert granted(statements, "s3:GetObject") == granted(statements, "s3:GetObjectVersion")
    assert granted(statements, "s3:GetObject") == [
        "arn:aws-cn:s3:::documents/*",
        "arn:aws:s3:::photos/a/*",
    ]
    assert granted(statements, "s3:ListBucket") == [
        "arn:aws-cn:s3:::documents",
        "arn:aws:s3:::photos",
    ]
    assert granted(statements, "s3:RestoreObject") == ["arn:aws:s3:::photos/a/b/*"]
    assert granted(statements, "sqs:ReceiveMessage") == [QUEUE.arn]
    # A condition on the prefix never holds for a GET, so a missing object would be a 403.
    assert all("Condition" not in statement for statement in statements)


def test_special_characters_of_a_prefix_are_escaped_in_a_policy() -> None:
    (resource,) = granted(iam_statements([rule(source_prefix="${a}?*/")], []), "s3:GetObject")
    assert resource == "arn:aws:s3:::photos/${$}{a}${?}${*}/*"


def test_a_star_in_a_prefix_allows_one_sign_in_ram_which_has_no_escapes() -> None:
    statements = ram_statements([rule(source_prefix="a*b?c/")])
    assert granted(statements, "oss:PutObject") == ["acs:oss:*:*:replica/a?b?c/*"]


def test_only_the_canary_of_a_rule_that_has_one_may_be_written() -> None:
    rules = [
        rule(source_prefix="a/", source_suffix=".jpg", canary=True),
        rule(source_prefix="b/日本/c?", canary=True),
        rule(source_prefix="d/"),
    ]
    assert granted(iam_statements(rules, []), "s3:PutObject") == [
        "arn:aws:s3:::photos/a/.s3sync-canary.jpg",
        "arn:aws:s3:::photos/b/*/c${?}.s3sync-canary",
    ]
    assert granted(iam_statements(rules[2:], []), "s3:PutObject") == []


def test_a_prefix_ends_before_a_character_that_iam_refuses() -> None:
    (resource,) = granted(iam_statements([rule(source_prefix="a/日本/b")], []), "s3:GetObject")
    assert resource == "arn:aws:s3:::photos/a/*"


def test_oss_allows_what_the_rules_do_only_where_they_do_it() -> None:
    (put,) = granted(ram_statements([rule(destination_prefix="copies/")]), "oss:PutObject")
    assert put == "acs:oss:*:*:replica/copies/*"

    plain = ram_statements([rule(source_prefix="a/", destination_prefix="copies/")])
    assert granted(plain, "oss:PutObject") == ["acs:oss:*:*:replica/copies/a/*"]
    assert not granted(plain, "oss:ListMultipartUploads")
    assert not granted(plain, "oss:DeleteObject")
    assert not granted(plain, "oss:PutObjectAcl")

    more = ram_statements(
        [
            rule(source_prefix="a/", strip_source_prefix=True, delete_policy="mirror"),
            rule(source_prefix="b/", destination_prefix="c/", acl="private", key_policy="rewrite"),
        ]
    )
    assert granted(more, "oss:DeleteObject") == ["acs:oss:*:*:replica/*"]
    assert granted(more, "oss:PutObjectAcl") == [
        "acs:oss:*:*:replica/c/.s3sync-key/*",
        "acs:oss:*:*:replica/c/b/*",
    ]
    assert granted(more, "oss:PutObject") == ["acs:oss:*:*:replica/*"]
