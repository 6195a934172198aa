"""One function per MIL op, in families named as in coremltools' ``ops/defs``.

Every module here is imported when the first op is looked up; a new op, or a new family, touches nothing else.
"""
