"""Container images: real tools read what is made, hostile input is refused with nothing written."""
