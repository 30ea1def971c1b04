"""The causal Wan models as pure tensor maths: no state, no I/O, no threads, no globals."""
