"""Each module is one kind of work, measured: its `measure` gives a row of the report."""
