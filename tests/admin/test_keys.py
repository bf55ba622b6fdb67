"""Keys may contain any character: they are escaped and shown, and never break a page."""

from html.parser import HTMLParser

import pytest
from django.test import Client

from replication.admin.cells import LIST_KEY_LENGTH, short_key, visible
from replication.models import JobState
from tests.admin.pages import change_url, list_url
from tests.support.story import ODD_KEYS, Service, make_job


class Keys(HTMLParser):
    """The texts of all <code class="key"> of a page, and the page's tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "code" and ("class", "key") in attrs:
            self._inside = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "code"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data


@pytest.mark.parametrize("key", ODD_KEYS)
@pytest.mark.parametrize("model", ["transferjob", "failedjob"])
def test_an_odd_key_is_escaped_in_the_lists(
    operator_client: Client, service: Service, model: str, key: str
) -> None:
    make_job(service.rule, "plain", JobState.FAILED)
    plain = Keys(operator_client.get(list_url(model)).content.decode())
    make_job(service.rule, key, JobState.FAILED)
    odd = Keys(operator_client.get(list_url(model)).content.decode())
    assert Keys(short_key(key)).texts[0] in odd.texts
    for tag in ("script", "b", "img"):
        assert odd.tags.count(tag) == plain.tags.count(tag)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_job_page_has_the_full_key_escaped(
    operator_client: Client, service: Service, key: str
) -> None:
    job = make_job(service.other_rule, key, JobState.FAILED, detail="<img src=x onerror=alert(1)>")
    page = Keys(operator_client.get(change_url("transferjob", job.pk)).content.decode())
    assert visible(key) in page.texts
    assert visible("archive/" + key) in page.texts
    assert "b" not in page.tags
    assert "img" not in page.tags


def test_invisible_characters_get_names() -> None:
    assert visible("a\nb\r\t\x01\x7f") == "a‹LF›b‹CR›‹TAB›‹U+0001›‹U+007F›"
    assert visible("\u202egnp.exe") == "‹U+202E›gnp.exe"
    assert visible(" a  b ") == "‹SP›a  b‹SP›"
    assert visible("a\u00a0b\u200bc\u2028") == "a‹U+00A0›b‹U+200B›c‹U+2028›"


def test_visible_characters_stay() -> None:
    for key in ("עברית/قائمة.pdf", "👩‍👩‍👧‍👦.jpg", "照片/été.jpg", "a b+c%20&d=é"):
        assert visible(key) == key


def test_a_list_cuts_the_middle_of_a_long_key_and_has_the_full_key_in_the_title() -> None:
    key = "folder/" * 50 + "file.parquet"
    cell = short_key(key)
    assert f'title="{key}"' in cell
    (text,) = Keys(cell).texts
    assert len(text) == LIST_KEY_LENGTH
    assert text.startswith("folder/folder/")
    assert text.endswith("folder/file.parquet")
