"""minibox: your own machines become one Dropbox."""
