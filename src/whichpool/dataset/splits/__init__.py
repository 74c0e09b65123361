"""Where files are cut, so that each worker reads its own part of them, and all parts together are the whole."""
