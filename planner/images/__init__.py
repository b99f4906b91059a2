"""Container images: layouts and archives in, deltas between them as OCI artifacts, images with the same digests out."""
