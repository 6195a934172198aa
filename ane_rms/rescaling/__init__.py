r"""Scale values of a program by powers of two without changing what it computes.

Every value v gets an exponent e(v), and the program is changed so that it computes ``v * 2^e(v)`` in its place. An op
allows this if the exponents of its inputs and of the constants it reads add up to its result's:

- :mod:`.relations` and :mod:`.scales`: how each MIL op relates the exponents of what it reads and writes;
- :mod:`.regions`: which values must be scaled together, and where a multiplication closes such a region;
- :mod:`.planning`: which exponents bring a program into float16's range, from the magnitudes that its values reach;
- :mod:`.stepping`: which exponents bring the sums of squares that norms take into it, in steps along a stream;
- :mod:`.factors`: give the values of a program their exponents.

A power of two changes no digit, so the float32 results stay the same to the last bit, except for subnormal numbers.
"""
