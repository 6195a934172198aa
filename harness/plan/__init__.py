"""What a run is asked for: cases, options, variants, shapes."""
