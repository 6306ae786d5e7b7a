"""Side-by-side measurements of fullduplex and its peers: ``make bench``, or ``python -m bench --help``."""
