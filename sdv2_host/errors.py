"""Errors a user or a peer can cause. Anything else that escapes is a bug of ours.

HostError                one line for the user, exit code
 +- ConfigError          a start-up setting, flag or file is wrong
 +- ParamError           a live parameter was refused
 +- RingError            shared memory: cannot create, attach or trust a frame ring
 +- SourceError          a video file, camera or pattern cannot be read
 +- ModelError           weights are missing, damaged or of the wrong shape
 +- DeviceError          the compute device is missing, or its memory is too small:
 |   +- DeviceMemoryError
 +- AlreadyRunningError  another process owns this name
 +- WorkerError          the worker process failed or does not answer
 +- ProtocolError        a peer sent bytes that are not the protocol
"""

from __future__ import annotations


class HostError(Exception):
    """What happened, the value and the allowed range, and what to do: one line for a person."""

    exit_code = 1


class ConfigError(HostError):
    exit_code = 2


class ParamError(HostError):
    exit_code = 2


class RingError(HostError):
    exit_code = 3


class SourceError(HostError):
    exit_code = 4


class ModelError(HostError):
    exit_code = 5


class DeviceError(HostError):
    exit_code = 9


class DeviceMemoryError(DeviceError):
    """What is free of the device's memory now is too little for what is asked."""


class AlreadyRunningError(HostError):
    exit_code = 6


class WorkerError(HostError):
    exit_code = 7


class ProtocolError(HostError):
    exit_code = 8
