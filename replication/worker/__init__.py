"""A lane: claim → transfer → settle."""
