"""TODO docstring."""

# Tries of a part before the job's try ends with its error.
PART_TRIES = 5


# Of a lane's places: the rest is for objects that go in one piece.
PARTS_SHARE = 0.75
