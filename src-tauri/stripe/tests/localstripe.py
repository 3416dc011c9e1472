"""Runs localstripe on loopback, on a free port, without its pickle.

Its own start-up listens on every interface and writes the whole store into a
fixed file in the temp directory on each change. Prints the port.
"""

import socket
import sys

# This file has the package's name, and its own folder comes first.
sys.path.pop(0)

from aiohttp import web
from localstripe import server

server.store.dump_to_disk = lambda: None
server.store.try_load_from_disk = lambda: None

sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sock.bind(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
web.run_app(server.app, sock=sock, print=None, access_log=None)
