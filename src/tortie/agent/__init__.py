"""The agent: wiring, the one written order of apply, timers, and the local API.

Everything that decides lives elsewhere; here values are carried from one folder to the next.
"""
