"""Find the commit or the package version that made a figure worse, by measuring between two runs."""
