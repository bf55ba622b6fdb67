"""What the documents say of states, transitions and commands is what the code has."""

import re

from django.conf import settings

from replication import jobs
from replication.models import JobState

README = (settings.BASE_DIR / "README.md").read_text()
JOB_STATES = (settings.BASE_DIR / "docs/reference/job-states.md").read_text()
ARROW = re.compile(r"^(\w+) +(\w+) +→ (.+)$", re.MULTILINE)


def test_the_diagram_has_the_states_of_the_code_and_no_others():
    arrows = ARROW.findall(JOB_STATES)
    drawn = {start for start, _, _ in arrows} | {
        end for _, _, ends in arrows for end in ends.split(" | ")
    }
    assert drawn == set(JobState.values)


def test_each_arrow_is_a_function_of_the_module_that_changes_states():
    movers = {mover for _, mover, _ in ARROW.findall(JOB_STATES)}
    assert {mover for mover in movers if not callable(getattr(jobs, mover, None))} == set()
    assert len(movers) == 10


def test_every_command_of_ours_is_in_the_readme():
    folder = settings.BASE_DIR / "replication" / "management" / "commands"
    commands = {file.stem for file in folder.glob("[a-z]*.py")}
    assert commands == set(re.findall(r"^\| `manage\.py (\w+)", README, re.MULTILINE))


def test_every_link_of_the_readme_leads_somewhere():
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README)]
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (settings.BASE_DIR / link).exists()] == []
