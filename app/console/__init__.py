"""The web console: server-rendered pages at /console, a client of the public API.

Each page reads and writes through the routes of the API, in this process, as the user whose key
started the session. So whatever a page shows, a program can get as well.
"""
