"""All replacements of coremltools functions during a conversion."""
