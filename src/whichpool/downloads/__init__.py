"""The downloader: waiting work, on whichpool's public API. `whichpool.download` and ``whichpool get``."""
