"""``ane-harness bench``: the latency of programs, measured alternately in a child process, and its disturbances.

===================  =================================================================================
``messages.py``      the messages between parent and child
``preparation.py``   in a child: makes packages, inputs and expected values from a zoo model
``measurement.py``   in a child: loads and times packages; Core ML runs only here
``outcome.py``       turns a measurement's messages into fields of rows
``session.py``       in the parent: decides which packages are measured together, and makes the rows
===================  =================================================================================
"""
