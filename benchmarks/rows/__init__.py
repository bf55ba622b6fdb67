"""Each module measures one kind of work; its `measure` functions return rows of the report."""
