"""The demonstration: two data sets that ship with the package, two small models, one federated training loop.

Promise: everything here runs on numpy and the core's own dependencies, and nothing here is secret. `task` says what a
training task is, `flights` and `digits` are the two tasks, `training_plain` is the loop with the way of summing as an
argument; `secure` is the one module that joins it with masked sums, and the others know nothing of them.
"""
