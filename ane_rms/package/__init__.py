"""A finished package as protobuf: read its program without its weights, and put new ops into it.

The program is never rebuilt. Everything that a rewrite does not name stays the bytes that it was.
"""
