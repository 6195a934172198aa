"""``ane-harness bench``: the latency of programs, measured alternately in a child process, and what spoils it.

=================  ==================================================================================================
``messages.py``    what parent and child say to each other
``prepare.py``     in a child: a zoo model becomes packages, its inputs, and the values they must give
``worker.py``      in a child: packages are loaded and timed; the Core ML side of a measurement lives and dies here
``outcome.py``     what a measurement's messages add up to
``run.py``         in the parent: which packages are measured together, and what becomes a row
=================  ==================================================================================================
"""
