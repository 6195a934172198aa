"""Edit a finished package as protobuf: read its program without its weights, and insert new ops.

The program is never rebuilt. Every byte that a rewrite does not concern stays the same.
"""
