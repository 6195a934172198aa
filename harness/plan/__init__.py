"""The plan of a run: cases, options, variants, shapes."""
