"""Records of runs: their schema, and the files they are kept in."""
