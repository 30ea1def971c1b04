"""The TouchDesigner component StreamDiffusion: what runs inside TouchDesigner's own Python.

    component.StreamDiffusion   the extension: the Python API, and what the DATs call
     +- session.Session         while Active is on: the courier and what is carried each frame
     |   +- par_board           parameters and the host's values, kept equal
     |   +- transfer            pictures out of and into TOPs
     |   +- status_board        status table, channels, menus, callbacks
     +- host_desk.HostDesk      the daemon as a process of its own: start, stop, log
    builder, pages, release     make the component, once, and save it

Standard library and numpy only, besides `td` and the client of sdv2_host.
"""
