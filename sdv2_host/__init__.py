"""A local daemon that restyles live video by prompt (StreamDiffusionV2, arXiv 2511.07399)."""

__version__ = "0.1.0"
