"""The paper's streaming core on one device, free of I/O: state in, pictures out."""
