"""Processes: the daemon with its presenter and sockets, and the worker it supervises."""
