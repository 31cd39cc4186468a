"""The demonstration: two data sets that ship with the package, two small models, one federated training loop.

Promise: everything here runs on numpy and the core's own dependencies, and nothing here is secret. `task` says what a
training task is, `flights` and `digits` are the two tasks, `training_plain` is the loop with the way of summing as an
argument. This package knows no secure aggregation; the command line passes the masked sum in.
"""
