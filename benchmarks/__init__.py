"""Measurements of this project on the reader's machine: `python -m benchmarks` lists them.

Promise: a figure is measured when it is printed, as CPU time and as a ratio to something measured in the same process
wherever that is possible, so that it means the same on a busy machine. Nothing here is imported by the packages.
"""
