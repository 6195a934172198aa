r"""Scale values of a program by powers of two without changing what it computes.

Every value v gets an exponent e(v), and the program is changed so that it computes ``v * 2^e(v)`` in its place. An op
allows this if the exponents of its inputs and of the constants it reads add up to its result's:

- :mod:`.relations` and :mod:`.scales`: how each MIL op relates the exponents of its inputs and results;
- :mod:`.survey`: the order of a program's ops, and the constants that they share;
- :mod:`.regions`: the values that must be scaled together, and the multiplications that close such a region;
- :mod:`.planning`: the exponents that bring a program into float16's range, from the magnitudes of its values;
- :mod:`.weighing`: the exponent of a region, of which neither the rows nor the weights become too small;
- :mod:`.stepping`: the exponents that bring the sums of squares in norms into it, in steps along a stream;
- :mod:`.factors`: the change of a program that gives its values their exponents.

A power of two changes no digit, so the float32 results stay the same to the last bit, except for subnormal numbers.
"""
