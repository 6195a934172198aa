"""Predict from published measurements how a generation of Neural Engine treats a program. Nothing here is measured."""
