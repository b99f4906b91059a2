"""Make and prove: codecs, delta formats, the builder and its journal."""
