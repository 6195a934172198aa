"""Records of runs: their schema and their files."""
