"""What a service does with the API server of its cluster: follow objects, lead, report status.

The client library takes over a second and some 60 MB to import. Only functions import it, so that
a process that follows no cluster never pays for it.
"""
