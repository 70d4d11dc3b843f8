"""Pool of processes for CPU-heavy work of the API, which would hold its interpreter lock.

Tasks are functions and classes of the code base, named by reference; bytes go in and out. Projects
share the processes fairly, by the time that their tasks have taken.

Nothing is imported here, because workers should start fast.
"""
