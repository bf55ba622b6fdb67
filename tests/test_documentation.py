"""The documents are true where a test can tell: links, paths, settings, states and commands."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from replication import jobs
from replication.models import JobState
from s3sync.environment import SECRETS, Environment, variable_name
from tests.support.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
TEXT_SUFFIXES = {
    *(".html", ".js", ".json", ".md", ".py", ".sh", ".tf", ".toml", ".txt", ".yaml", ".yml"),
    "",  # Makefile, Dockerfile
}

ARROW = re.compile(r"^(\w+) +(\w+) +→ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
DOCS_PATH = re.compile(r"(?<![\w./-])docs/[\w./-]*\w")
VARIABLE = re.compile(r"\bS3SYNC_[A-Z][A-Z_]*[A-Z]\b")


def files() -> Iterator[Path]:
    """Our own text files: without hidden folders (`.venv`), which others fill."""
    for path in sorted(REPOSITORY.rglob("*")):
        parts = path.relative_to(REPOSITORY).parts
        is_hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not is_hidden and path.suffix in TEXT_SUFFIXES:
            yield path


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


PAGES = [path for path in files() if path.suffix == ".md"]


@cache
def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(prose(page)):
        text = LINK.sub("]", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_to_a_file_and_to_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"\w+:", link):
            continue  # another host
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_path_below_docs_that_a_file_names_exists() -> None:
    missing = [
        f"{name(path)}: {found}"
        for path in files()
        # A migration keeps the texts of its day.
        if "migrations" not in path.parts
        for found in DOCS_PATH.findall(path.read_text(encoding="utf-8"))
        if not (REPOSITORY / found).exists()
    ]
    assert not missing


def test_the_contents_list_every_page_once() -> None:
    contents = DOCS / "README.md"
    listed = [(DOCS / link).resolve() for link in LINK.findall(prose(contents))]
    assert [path for path, times in Counter(listed).items() if times > 1] == []
    pages = {path for path in DOCS.rglob("*") if path.is_file() and path != contents}
    assert pages <= set(listed)


def test_every_setting_that_a_page_names_exists() -> None:
    known = {variable_name(field) for field in Environment.model_fields}
    known |= {f"{variable_name(field)}_FILE" for field in SECRETS}
    unknown = [
        f"{name(page)}: {variable}"
        for page in PAGES
        if "deploy" not in page.parts  # the Lambda function has variables of its own
        for variable in VARIABLE.findall(page.read_text(encoding="utf-8"))
        if variable not in known and not variable.startswith("S3SYNC_PROFILE")
    ]
    assert not unknown


def test_the_glossary_has_each_word_once_in_order_and_in_chinese() -> None:
    sections = re.split(r"^## (.+)$", (DOCS / "glossary.md").read_text(), flags=re.MULTILINE)[1:]
    words = [word.lower() for word in sections[::2]]
    assert words == sorted(set(words))
    without = [
        word
        for word, text in zip(words, sections[1::2], strict=True)
        if not re.match(r"\s*[\u4e00-\u9fff]+\. \S", text)
    ]
    assert not without


# -- states and commands -----------------------------------------------------------------------


def test_the_diagram_has_the_states_of_the_code_and_no_others() -> None:
    arrows = ARROW.findall((DOCS / "reference/job-states.md").read_text())
    drawn = {start for start, _, _ in arrows} | {
        end for _, _, ends in arrows for end in ends.split(" | ")
    }
    assert drawn == set(JobState.values)


def test_each_arrow_is_a_function_of_the_package_that_changes_states() -> None:
    arrows = ARROW.findall((DOCS / "reference/job-states.md").read_text())
    transitions = {transition for _, transition, _ in arrows}
    assert {each for each in transitions if not callable(getattr(jobs, each, None))} == set()
    assert len(transitions) == 10


def test_the_readme_lists_every_command_of_ours() -> None:
    folder = REPOSITORY / "replication/management/commands"
    commands = {file.stem for file in folder.glob("[a-z]*.py")}
    readme = (REPOSITORY / "README.md").read_text()
    assert commands == set(re.findall(r"^\| `manage\.py (\w+)", readme, re.MULTILINE))
