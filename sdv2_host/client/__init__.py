"""A host as a creative application sees it: frames and OSC carried by a thread of its own.

Standard library and numpy only, as for all it imports: TouchDesigner's Python has nothing else.
"""
