"""Broken files of every format, over all readers: no crash, no hang, no memory beyond its bound.

`python -m tests.fuzz --n 200000` breaks one good small file of each format in seeded ways and reads
it, under the policies `skip` and `repair`; `--replay FORMAT:INDEX` does one case again.
"""
