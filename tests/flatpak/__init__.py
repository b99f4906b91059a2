"""A real Flatpak repository, and the stock client."""
