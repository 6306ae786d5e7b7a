"""Load generators: the same code sends the same bytes to every peer, and looks at what comes back."""
