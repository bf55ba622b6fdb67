"""The rules file: what is applied, which mistakes are refused at which line, the round trip."""

import io
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from replication.models import (
    Destination,
    EventQueue,
    ReplicationRule,
    Source,
    SourceDomain,
    Sweep,
    SweepKind,
)
from replication.sweep import lifecycle
from replication.tools.rules_file import (
    MAX_FILE_BYTES,
    FieldChange,
    RulesFileError,
    apply_rules,
    export_rules,
)
from replication.tools.rules_file.sections import SECTIONS

pytestmark = pytest.mark.django_db

DOCS = settings.BASE_DIR / "docs"
EXAMPLE = (DOCS / "reference/rules.example.yaml").read_text()

SOURCE = "{name: a, bucket: a-bucket, region: ap-east-1}"
DESTINATION = (
    "{name: d, bucket: d-bucket, endpoint: 'https://oss-cn-hongkong.aliyuncs.com', "
    "region: cn-hongkong}"
)


def mistakes(text: str) -> list[str]:
    with pytest.raises(RulesFileError) as raised:
        apply_rules(text)
    for model in (Source, Destination, ReplicationRule, EventQueue):
        assert not model.objects.exists(), "the database was changed"
    return [str(mistake) for mistake in raised.value.mistakes]


def summary(text: str, **options: bool) -> list[tuple[str, str, bool, list[FieldChange]]]:
    return [
        (change.noun, change.name, change.created, change.fields)
        for change in apply_rules(text, **options).changes
    ]


# -- applying ----------------------------------------------------------------------------------


def test_the_example_is_applied():
    apply_rules(EXAMPLE)
    rule = ReplicationRule.objects.get(name="photos")
    assert (rule.source.bucket, rule.destination.name) == ("example-photos", "oss-hangzhou")
    assert (rule.source_prefix, rule.strip_source_prefix) == ("originals/", True)
    assert {domain.domain for domain in rule.source.domains.all()} == {
        "photos.example.com",
        "cdn.example.com",
    }
    assert not ReplicationRule.objects.get(name="website").enabled
    assert EventQueue.objects.get().region == "ap-east-1"


def test_applying_again_changes_nothing():
    apply_rules(EXAMPLE)
    again = apply_rules(EXAMPLE)
    assert not any(change.created or change.fields for change in again.changes)
    assert again.absent == []


def test_a_change_has_the_field_and_its_old_and_new_value():
    apply_rules(EXAMPLE)
    edited = EXAMPLE.replace("enabled: false", "enabled: true")
    changed = [change for change in apply_rules(edited).changes if change.fields]
    assert [(c.noun, c.name, c.fields) for c in changed] == [
        ("rule", "website", [FieldChange("enabled", False, True)])
    ]
    assert ReplicationRule.objects.get(name="website").enabled


def test_a_field_that_is_left_out_gets_its_default():
    apply_rules(EXAMPLE)
    apply_rules(EXAMPLE.replace("    source_suffix: .pdf\n", ""))
    assert ReplicationRule.objects.get(name="documents").source_suffix == ""


def test_a_rule_can_get_another_destination():
    apply_rules(EXAMPLE)
    edited = EXAMPLE.replace("destination: oss-shanghai", "destination: oss-hangzhou")
    assert FieldChange("destination", "oss-shanghai", "oss-hangzhou") in [
        field for change in apply_rules(edited).changes for field in change.fields
    ]


def test_rows_that_the_file_does_not_mention_stay_and_are_listed():
    apply_rules(EXAMPLE)
    applied = apply_rules(f"sources: [{SOURCE}]")
    assert ("rule", "photos") in applied.absent
    assert ("queue", "photos") in applied.absent
    assert ReplicationRule.objects.count() == 3


def test_a_dry_run_reports_the_same_changes_and_changes_nothing():
    assert summary(EXAMPLE, dry_run=True) == summary(EXAMPLE)
    edited = EXAMPLE.replace("enabled: false", "enabled: true").replace(", cdn.example.com", "")
    assert summary(edited, dry_run=True) == summary(edited)
    assert summary(edited, dry_run=True) != summary(edited.replace("mirror", "keep"), dry_run=True)
    assert ReplicationRule.objects.get(name="photos").delete_policy == "mirror"


def test_domains_are_added_removed_and_moved():
    apply_rules(EXAMPLE)
    moved = EXAMPLE.replace("[photos.example.com, cdn.example.com]", "[new.example.com]").replace(
        "bucket: example-documents\n", "bucket: example-documents\n    domains: [cdn.example.com]\n"
    )
    changed = {change.name: change.fields for change in apply_rules(moved).changes if change.fields}
    assert changed == {
        "photos": [
            FieldChange("domains", ["cdn.example.com", "photos.example.com"], ["new.example.com"])
        ],
        "documents": [FieldChange("domains", [], ["cdn.example.com"])],
    }
    assert dict(SourceDomain.objects.values_list("domain", "source__name")) == {
        "new.example.com": "photos",
        "cdn.example.com": "documents",
        "www.example.com": "website",
    }


def test_counts_of_pollers_and_pauses_of_operators_stay():
    apply_rules(EXAMPLE)
    EventQueue.objects.update(messages_received=7)
    ReplicationRule.pause(ReplicationRule.objects.all())
    apply_rules(EXAMPLE.replace("s3sync-photos", "s3sync-all").replace("mirror", "keep"))
    assert EventQueue.objects.get().messages_received == 7
    assert not ReplicationRule.objects.filter(paused_at=None).exists()


def test_anchors_and_merges_are_applied():
    apply_rules("""
x-base: &base {region: ap-east-1, credential_profile: hk}
sources:
  - &first {<<: *base, name: a, bucket: one}
  - {<<: [*first, *base], name: b}
""")
    assert list(Source.objects.values_list("name", "bucket", "region", "credential_profile")) == [
        ("a", "one", "ap-east-1", "hk"),
        ("b", "one", "ap-east-1", "hk"),
    ]


def test_text_that_looks_like_a_number_or_a_date_is_taken_literally():
    apply_rules("""
sources:
  - {name: 2024-01-01, bucket: 0123, region: 1e5}
  - {name: yes, bucket: 1_000, region: off}
""")
    assert list(Source.objects.values_list("name", "bucket", "region")) == [
        ("2024-01-01", "0123", "1e5"),
        ("yes", "1_000", "off"),
    ]


def test_limits_are_numbers():
    apply_rules(EXAMPLE)
    destination = Destination.objects.get(name="oss-hangzhou")
    assert destination.max_requests_per_second == 500
    assert destination.max_bytes_per_second == 50_000_000
    assert ReplicationRule.objects.get(name="photos").max_concurrency == 32
    assert Destination.objects.get(name="oss-shanghai").max_requests_per_second is None


def test_leaving_a_limit_out_removes_it():
    apply_rules(EXAMPLE)
    edited = EXAMPLE.replace("    max_requests_per_second: 500\n", "")
    changed = [change for change in apply_rules(edited).changes if change.fields]
    assert [(c.name, c.fields) for c in changed] == [
        ("oss-hangzhou", [FieldChange("max_requests_per_second", 500, None)])
    ]
    assert Destination.objects.get(name="oss-hangzhou").max_requests_per_second is None


def test_null_removes_a_merged_limit():
    apply_rules(f"""
x-slow: &slow {{max_requests_per_second: 10, max_bytes_per_second: 1000}}
destinations:
  - {{<<: *slow, {DESTINATION[1:-1]}}}
  - <<: [*slow, {DESTINATION}]
    name: e
    max_requests_per_second: null
    max_bytes_per_second: ~
""")
    limits = Destination.objects.values_list("max_requests_per_second", "max_bytes_per_second")
    assert dict(zip("de", limits, strict=True)) == {"d": (10, 1000), "e": (None, None)}


def test_globs_are_one_on_each_line():
    apply_rules(EXAMPLE)
    rule = ReplicationRule.objects.get(name="photos")
    assert rule.include == "**/*.jpg\n**/*.png\n"
    assert rule.matches("originals/2026/a.jpg")
    assert not rule.matches("originals/2026/thumbnails/a.jpg")


# -- mistakes ----------------------------------------------------------------------------------


def test_all_mistakes_are_reported_at_once_each_with_its_line():
    assert mistakes(f"""\
sources:
  - {SOURCE}
  - name: b
    bukket: b-bucket
    region: ap-east-1
destinations: [{DESTINATION}]
rules:
  - name: one
    source: a
    destination: dd
    enabled: yes
  - name: Two
    source: a
    destination: d
    delete_policy: erase
quues: []
""") == [
        "3: sources[1]: An S3 source needs a bucket and a region; an HTTP source needs an "
        "endpoint URL and no bucket.",
        "4: sources[1].bukket: a source has no such field; did you mean 'bucket'?",
        "10: rules[0].destination: there is no destination named 'dd'; did you mean 'd'?",
        "11: rules[0].enabled: must be true or false, not 'yes'",
        "12: rules[1].name: Use lower-case letters, digits and hyphens; start with a letter or "
        "digit.",
        "15: rules[1].delete_policy: Value 'erase' is not a valid choice.",
        "16: quues: there is no such section; did you mean 'queues'?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file must have one or more of: sources, destinations, rules, queues"),
        ("- a", "1: the file must have one or more of"),
        ("sources: {}", "1: sources: must be a list"),
        ("sources:\n", "1: sources: must be a list"),
        ("sources: [a]", "1: sources[0]: must be a mapping with the fields of a source"),
        ("sources:\n- bucket: b", "2: sources[0].name: is missing"),
        ("sources: [{name: }]", "1: sources[0].name: must be text, but is empty"),
        (
            "sources: [{name: true}]",
            '1: sources[0].name: must be text; put quotes around it: "true"',
        ),
        ("sources: [{name: [a]}]", "1: sources[0].name: must be text, not a list"),
        ("sources: [{name: !!python/name:os.system a}]", "1: sources[0].name: must be text"),
        ('sources: [{name: "a\\0"}]', "1: sources[0].name: has a character that PostgreSQL"),
        ('sources: [{name: "\\ud800"}]', "1: sources[0].name: has a character that PostgreSQL"),
        ("sources: [{name: a, 1: 2}]", "1: sources[0].1: a source has no such field"),
        ("sources: [{name: a, [b]: 2}]", "1: the name of a field must be text"),
        ("sources: [{name: a, <<: 3}]", "1: <<: only mappings can be merged"),
        ("sources: []\nsources: []", "2: sources: is already in line 1"),
        ("sources:\n- name: a\n  name: b", "3: name: is already in line 2"),
        (f"sources:\n- {SOURCE}\n- {SOURCE}", "3: sources[1].name: 'a' is already in line 2"),
        ("rules: [{name: a}]", "1: rules[0].source: is missing"),
        ("rules: [{name: a, domains: []}]", "1: rules[0].domains: a rule has no such field"),
        ("queues: [{name: a, url: x}]", "1: queues[0].region: is missing"),
        ("sources: [{name: a, domains: b}]", "1: sources[0].domains: must be a list"),
        ("sources: [{name: a, domains: [[]]}]", "1: sources[0].domains[0]: must be text"),
        (
            "rules:\n- name: a\n  include: **/*.jpg",
            "3: not YAML: found undefined alias '*/*.jpg'; text that begins with * needs quotes",
        ),
        ("rules:\n- include: *", "not YAML"),
        (
            "rules:\n- name: a\n  include: |\n    ok\n    a[b",
            "3: rules[0].include: line 2, 'a[b': a '['",
        ),
        (
            "rules: [{name: a, storage_classes: GLACIER=Frozen}]",
            "1: rules[0].storage_classes: 'Frozen' is not a storage class of OSS",
        ),
        (
            "rules: [{name: a, key_policy: ignore}]",
            "1: rules[0].key_policy: Value 'ignore' is not a valid",
        ),
        (
            "rules: [{max_concurrency: many}]",
            "1: rules[0].max_concurrency: must be a whole number, not 'many'",
        ),
        (
            "rules: [{max_concurrency: '8'}]",
            "1: rules[0].max_concurrency: must be a whole number; take the quotes off",
        ),
        (
            "rules: [{max_concurrency: 0x10}]",
            "1: rules[0].max_concurrency: must be a whole number in decimal digits",
        ),
        ("rules: [{max_concurrency: 1" + "0" * 5000 + "}]", "must be a whole number in decimal"),
        (
            "rules: [{name: a, max_concurrency: 0}]",
            "1: rules[0].max_concurrency: Ensure this value is gr",
        ),
        (
            "rules: [{name: a, max_concurrency: 3000000000}]",
            "rules[0].max_concurrency: Ensure this value",
        ),
        (
            "rules: [{max_concurrency: }]",
            "1: rules[0].max_concurrency: must be a whole number, but",
        ),
        (
            "rules: [{max_concurrency: [1]}]",
            "rules[0].max_concurrency: must be a whole number, not",
        ),
        ("sources: [a\nb: c", "2: not YAML: expected ',' or ']'"),
        ("sources: *nowhere", "1: not YAML: found undefined alias 'nowhere'"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("a: \x07", "not YAML"),
        ("[" * 5000, "1: nested too deeply"),
        (" " * (MAX_FILE_BYTES + 1), "1: the file is larger than 1,048,576 bytes"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_nothing_is_changed(text, expected):
    assert any(mistake.startswith(expected) or expected in mistake for mistake in mistakes(text))


def test_a_kms_key_without_kms_is_refused():
    assert mistakes(f"""\
sources: [{SOURCE}]
destinations: [{DESTINATION}]
rules:
  - {{name: r, source: a, destination: d, encryption: AES256, kms_key_id: k}}
""") == ["4: rules[0]: A KMS key id needs the encryption method KMS."]


def test_mistakes_in_domains_are_reported_with_their_lines():
    assert mistakes("""\
sources:
  - name: a
    bucket: aaa
    region: r
    domains:
      - x.example.com
      - https://y.example.com
      - x.example.com
  - name: b
    bucket: bbb
    region: r
    domains: [x.example.com]
""") == [
        "7: sources[0].domains[1]: Enter a host name in lower case, without scheme or path, "
        "e.g. files.example.com",
        "8: sources[0].domains[2]: 'x.example.com' is already in line 6",
        "12: sources[1].domains[0]: 'x.example.com' belongs to the source 'a'",
    ]


def test_a_domain_of_a_source_that_the_file_does_not_mention_is_refused():
    apply_rules(EXAMPLE)
    with pytest.raises(RulesFileError, match="1 mistake") as raised:
        apply_rules(f"sources: [{SOURCE[:-1]}, domains: [cdn.example.com]}}]")
    assert "belongs to the source 'photos'" in str(raised.value.mistakes[0])


def test_a_rule_is_not_blamed_for_the_mistakes_of_its_source():
    text = f"""\
sources: [{{name: a}}]
destinations: [{DESTINATION}]
rules: [{{name: r, source: a, destination: d}}]
"""
    assert [mistake.split(":")[0] for mistake in mistakes(text)] == ["1"]


@pytest.mark.parametrize(
    "text",
    [
        "x-a: &a {<<: *a}\nsources: [*a]",
        "sources: &a [*a]",
        "x-0: &x0 {name: a}\n"
        + "".join(f"x-{n + 1}: &x{n + 1} {{<<: [*x{n}, *x{n}]}}\n" for n in range(60))
        + "sources: [*x60]",
        "x: &x [" + "a," * 20_000 + "]\nsources: *x",
    ],
    ids=["merges-itself", "contains-itself", "a-billion-merges", "many-entries"],
)
@pytest.mark.timeout(30)
def test_a_file_made_to_exhaust_memory_is_refused_quickly(text):
    assert mistakes(text)


# -- a first backfill --------------------------------------------------------------------------


WITHOUT_BACKFILL = EXAMPLE.replace("    backfill: true\n", "")


def test_a_rule_that_asks_for_a_backfill_gets_one_and_never_a_second():
    apply_rules(WITHOUT_BACKFILL)
    assert not Sweep.objects.exists()
    assert apply_rules(EXAMPLE, dry_run=True).backfills == ["documents"]
    assert not Sweep.objects.exists()
    assert apply_rules(EXAMPLE).backfills == ["documents"]
    sweep = Sweep.objects.get()
    assert (sweep.rule.name, sweep.kind, sweep.mends) == ("documents", SweepKind.BACKFILL, True)
    assert apply_rules(EXAMPLE).backfills == []
    lifecycle.cancel(Sweep.objects.all())
    apply_rules(WITHOUT_BACKFILL)
    apply_rules(EXAMPLE)
    assert Sweep.objects.count() == 1


def test_a_backfill_is_started_for_a_new_rule_and_survives_the_round_trip():
    assert apply_rules(EXAMPLE).backfills == ["documents"]
    exported = export_rules()
    assert exported.count("    backfill: true\n") == 1
    assert apply_rules(exported).backfills == []
    assert ReplicationRule.objects.get(backfill=True).name == "documents"


def test_a_backfill_that_can_not_start_yet_starts_later():
    disabled = EXAMPLE.replace("backfill: true", "backfill: true\n    enabled: false")
    assert apply_rules(disabled).backfills == []
    assert not Sweep.objects.exists()
    ReplicationRule.objects.filter(name="documents").update(enabled=True)
    reconcile = lifecycle.start(ReplicationRule.objects.get(name="documents"), SweepKind.RECONCILE)
    assert lifecycle.start_backfills() == 0
    lifecycle.cancel(Sweep.objects.filter(pk=reconcile.pk))
    assert lifecycle.start_backfills() == 1
    assert lifecycle.start_backfills() == 0


def test_a_web_server_has_no_backfill():
    edited = EXAMPLE.replace("enabled: false", "backfill: true")
    line = len(edited[: edited.rindex("backfill: true")].splitlines())
    assert mistakes(edited) == [
        f"{line}: rules[2].backfill: A web server can't be listed, so there is nothing to copy at "
        "once."
    ]


# -- the round trip ----------------------------------------------------------------------------


def test_applying_an_export_changes_nothing():
    apply_rules(EXAMPLE)
    applied = apply_rules(export_rules())
    assert not any(change.created or change.fields for change in applied.changes)
    assert applied.absent == []


def test_applying_an_export_restores_an_empty_database():
    apply_rules(EXAMPLE)
    exported = export_rules()
    empty_the_database()
    apply_rules(exported)
    assert export_rules() == exported


def test_an_empty_database_can_be_exported_and_applied():
    assert apply_rules(export_rules()).changes == []


def empty_the_database() -> None:
    for model in (ReplicationRule, Source, Destination, EventQueue):
        model.objects.all().delete()


# PostgreSQL's text has no NUL, and UTF-8 no surrogates.
any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def make_rule(**fields) -> ReplicationRule:
    empty_the_database()
    apply_rules(f"sources: [{SOURCE}]\ndestinations: [{DESTINATION}]")
    ends = {"source": Source.objects.get(), "destination": Destination.objects.get()}
    return ReplicationRule.objects.create(name="r", **ends, **fields)


def test_several_lines_of_printable_text_are_exported_as_a_block():
    make_rule(include="**/*.jpg\n[a-z]*.png\n# no comment", exclude="a\n", max_concurrency=3)
    exported = export_rules()
    assert "    include: |-\n      **/*.jpg\n      [a-z]*.png\n      # no comment\n" in exported
    assert "    exclude: |\n      a\n" in exported
    assert "    max_concurrency: 3\n" in exported
    assert not any(change.fields for change in apply_rules(exported).changes)


def test_an_export_has_no_line_for_a_limit_that_is_not_set():
    make_rule()
    assert "max_" not in export_rules()


def test_an_export_writes_null_where_leaving_the_field_out_would_set_it(monkeypatch):
    make_rule(max_concurrency=None)
    field = ReplicationRule._meta.get_field("max_concurrency")
    monkeypatch.setattr(field, "get_default", lambda: 8)
    exported = export_rules()
    assert "    max_concurrency: null\n" in exported
    assert not any(change.fields for change in apply_rules(exported).changes)


@given(
    include=st.lists(any_text, max_size=4).map("\n".join),
    storage_classes=st.sampled_from(["", "natural", " natural,\n*=IA\n\n", "STANDARD_IA=IA\n"]),
    max_concurrency=st.none() | st.integers(1, 2**31 - 1),
)
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_lines_survive_the_round_trip(include, storage_classes, max_concurrency):
    include = include.replace("[", "(").replace("***", "**")
    assume("***" not in include)
    rule = make_rule(
        include=include, storage_classes=storage_classes, max_concurrency=max_concurrency
    )
    exported = export_rules()
    assert not any(change.fields for change in apply_rules(exported).changes)
    rule.delete()
    apply_rules(exported)
    again = ReplicationRule.objects.get()
    assert (again.include, again.storage_classes) == (include, storage_classes)
    assert again.max_concurrency == max_concurrency


@given(prefix=any_text, suffix=any_text, into=any_text, enabled=st.booleans(), strip=st.booleans())
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_survives_the_round_trip(prefix, suffix, into, enabled, strip):
    empty_the_database()
    apply_rules(f"sources: [{SOURCE}]\ndestinations: [{DESTINATION}]")
    rule = ReplicationRule.objects.create(
        name="r",
        source=Source.objects.get(),
        destination=Destination.objects.get(),
        source_prefix=prefix,
        source_suffix=suffix,
        destination_prefix=into,
        enabled=enabled,
        strip_source_prefix=strip,
    )
    exported = export_rules()
    assert not any(change.fields for change in apply_rules(exported).changes)
    rule.delete()
    apply_rules(exported)
    again = ReplicationRule.objects.get()
    assert (again.source_prefix, again.source_suffix, again.destination_prefix) == (
        prefix,
        suffix,
        into,
    )
    assert (again.enabled, again.strip_source_prefix) == (enabled, strip)


# -- the commands ------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_applyrules_prints_what_it_did(tmp_path: Path):
    file = tmp_path / "rules.yaml"
    file.write_text(EXAMPLE)
    assert "created   rule photos\n" in run("applyrules", str(file))
    file.write_text(EXAMPLE.replace("mirror", "keep").split("queues:")[0])
    printed = run("applyrules", str(file))
    assert 'changed   rule photos: delete_policy: "mirror" → "keep"\n' in printed
    assert "unchanged source photos\n" in printed
    assert "kept      queue photos: not in the file\n" in printed


def test_applyrules_says_that_it_was_a_dry_run():
    assert "Dry run" in run("applyrules", str(DOCS / "reference/rules.example.yaml"), "--dry-run")
    assert not Source.objects.exists()


def test_applyrules_reads_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(EXAMPLE.encode())))
    assert "created" in run("applyrules", "-")


def test_applyrules_prints_mistakes_as_file_line_and_field(tmp_path: Path):
    file = tmp_path / "rules.yaml"
    file.write_text("\nrules:\n  - name: r\n    sauce: a\n")
    with pytest.raises(CommandError) as raised:
        run("applyrules", str(file))
    assert str(raised.value).splitlines() == [
        f"{file}:3: rules[0].destination: is missing",
        f"{file}:3: rules[0].source: is missing",
        f"{file}:4: rules[0].sauce: a rule has no such field; did you mean 'source'?",
        "Nothing was changed.",
    ]


def test_applyrules_prints_a_bounded_number_of_mistakes(tmp_path: Path):
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n" + "- a\n" * 1000)
    with pytest.raises(CommandError, match=r"… and 950 more"):
        run("applyrules", str(file))


@pytest.mark.parametrize(("content", "reason"), [(None, "can't be read"), (b"\xff", "not UTF-8")])
def test_applyrules_reports_a_file_that_it_can_not_read(tmp_path: Path, content, reason):
    file = tmp_path / "rules.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandError, match=reason):
        run("applyrules", str(file))


def test_applyrules_accepts_a_file_that_windows_wrote(tmp_path: Path):
    file = tmp_path / "rules.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    run("applyrules", str(file))
    written = export_rules()
    assert "\r" not in written
    file.write_text(EXAMPLE)
    assert "changed" not in run("applyrules", str(file)).replace("unchanged", "")


def test_applyrules_accepts_what_exportrules_writes(tmp_path: Path):
    apply_rules(EXAMPLE)
    file = tmp_path / "rules.yaml"
    run("exportrules", str(file))
    assert file.read_text() == run("exportrules") == export_rules()
    assert "changed" not in run("applyrules", str(file)).replace("unchanged", "")


# -- the documentation -------------------------------------------------------------------------


def test_every_field_is_documented():
    documented: dict[str, set[str]] = {}
    section = ""
    for line in (DOCS / "guides/rules-file.md").read_text().splitlines():
        if heading := re.match(r"## `(\w+)`", line):
            section = heading[1]
        elif line.startswith("## "):
            section = ""
        elif section and (row := re.match(r"\| `(\w+)`", line)):
            documented.setdefault(section, set()).add(row[1])
    assert documented == {section.name: set(section.field_names) for section in SECTIONS}


# -- names that only fail when they are used ---------------------------------------------------


def test_names_that_no_sdk_takes_are_refused_each_at_its_line():
    found = mistakes("""\
sources:
  - {name: url, bucket: 's3://photos', region: us-east-1}
  - {name: folder, bucket: photos/2026, region: us-east-1}
  - {name: arn, bucket: 'arn:aws:s3:::photos', region: us-east-1}
destinations:
  - {name: url, bucket: 'oss://photos', endpoint: 'https://oss-cn-hangzhou.aliyuncs.com', region: cn-hangzhou}
  - {name: six, bucket: photos, endpoint: 'http://[::1]:9000', region: cn-hangzhou, addressing: path}
""")  # noqa: E501 - as an operator wrote it
    folder = "A folder belongs in the rule's source prefix."
    assert found == [
        "2: sources[0].bucket: Enter the bucket's name alone: photos.",
        f"3: sources[1].bucket: Enter the bucket's name alone: photos. {folder}",
        "4: sources[2].bucket: Enter the bucket's name instead of its ARN: photos.",
        "6: destinations[0].bucket: Enter the bucket's name alone: photos.",
        "7: destinations[1].endpoint: oss2 does not accept '::1' as a host: enter a host name or "
        "an IPv4 address.",
    ]


def test_access_points_are_refused_because_events_name_the_bucket():
    found = mistakes("""\
sources:
  - {name: by-arn, bucket: 'arn:aws:s3:us-east-1:123456789012:accesspoint/photos', region: us-east-1}
  - {name: by-alias, bucket: photos-abcdefghijklmnopqrstuvwxyz123456-s3alias, region: us-east-1}
""")  # noqa: E501 - as an operator wrote it
    assert [text.partition(": ")[0] for text in found] == ["2", "3"]
    for text in found:
        assert "Enter the name of the bucket behind it: S3's events name the bucket" in text


def test_the_fields_of_a_queue_must_fit_each_other():
    [found] = mistakes("""\
queues:
  - name: q
    url: https://sqs.eu-west-1.amazonaws.com/123456789012/s3sync
    region: us-east-1
""")
    assert found.startswith("4: queues[0].region: The queue's URL is in eu-west-1")


def test_applyrules_says_which_backfill_starts(tmp_path: Path):
    file = tmp_path / "rules.yaml"
    file.write_text(EXAMPLE)
    line = "starts    backfill of rule documents\n"
    assert line in run("applyrules", str(file), "--dry-run")
    assert line in run("applyrules", str(file))
    assert line not in run("applyrules", str(file))
