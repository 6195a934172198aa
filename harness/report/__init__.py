"""Tables of records: the columns, and one module an output format."""
