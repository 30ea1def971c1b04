"""What each command of `sdv2-host` does; `cli.py` reads the command line and calls these."""
