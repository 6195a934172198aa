"""A text of about 600 words, written for this project, on which a language model's perplexity is measured."""

from __future__ import annotations

PASSAGE = """\
The lighthouse at the end of the long harbour wall had not been lit for thirty years, and most people in the town had \
forgotten that it ever was. Children climbed its stairs in summer to look at the sea. In winter the door was locked, \
and the key hung on a nail in the office of the harbour master, behind a calendar that nobody turned.

One morning in November a letter came from the ministry. It said that the old light would be inspected, and that \
somebody who knew the building should be there to open it. The harbour master read the letter twice. Then he put on \
his coat, took the key from its nail, and walked out along the wall to see what was left.

The wind was from the west and the waves broke against the stones. Gulls stood in a row on the railing and did not \
move when he passed. At the door he had to push with his shoulder, because the wood had swollen in the damp. Inside \
it smelled of salt, rust and old paint. He waited until his eyes were used to the dark, and then he began to climb.

There were one hundred and twelve steps. His father had told him so when he was a boy, and he counted them now to see \
whether it was true. At the sixtieth step there was a small window, and he stopped to get his breath. From here he \
could see the whole town: the church, the market, the two schools, the road that went up the hill and disappeared \
between the trees. It looked smaller than it did from below.

At the top the glass of the lamp was covered with dust. He wiped it with his sleeve and saw his own face, long and \
strange, in the curved surface. Everything was still in its place. The wheels that turned the lens were stiff, but \
when he leaned on them they moved. A book lay open on the table, and the last line in it was written in a hand that he \
knew. It gave the date, the direction of the wind, the state of the sea, and then the words: nothing to report.

He sat down on the wooden chair and read the pages before it. Every night had a line. There were storms in it, and \
ships that came too late, and once a whale that lay on the beach for three days. There was a night on which the oil \
ran out, and somebody had rowed across the harbour to fetch more. Most of the lines, however, said the same thing, and \
the longer he read, the more he liked them. Somebody had been awake on each of these nights so that nothing would \
happen, and nothing had happened.

When the inspector arrived the next day, she was younger than he had expected. She measured the room, took pictures \
of the lens, and asked how much it would cost to repair the stairs. He told her what he knew. Then she asked him \
whether the town needed the light at all, now that every boat had a receiver and a map that moved by itself.

He thought about it for a while. He said that a receiver can fail, and that a map shows where the rocks were when it \
was drawn. He said that people who come home at night like to see that somebody expects them. And then, because she \
was still waiting with her pencil in her hand, he showed her the book.

She read for a long time. When she had finished, she closed it carefully, wrote one sentence on her form, and asked \
him for the key.
"""
