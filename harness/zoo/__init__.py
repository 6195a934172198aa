"""The zoo: the models, and the sources of their weights."""
