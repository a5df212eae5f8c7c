"""The frozen backbone, run once: its runtimes, the files of its features, and the source that reads them."""
