"""A client of control sockets in nothing but Python's standard library."""

import itertools
import json
import socket

TIMEOUT = 30


class Client:
    """A connection to a control socket: a path, or @name in the abstract namespace."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect("\0" + address[1:] if address.startswith("@") else address)
        self.ids = map(str, itertools.count(1))

    def send(self, command, descriptors=(), **params):
        """Sends a request, and answers its id."""
        request = {"version": 1, "command": command, "params": params, "id": next(self.ids)}
        self.send_packet(json.dumps(request).encode(), descriptors)
        return request["id"]

    def send_packet(self, packet, descriptors=()):
        """Sends a packet, whatever it is, and passes descriptors along with it."""
        if descriptors:
            socket.send_fds(self.socket, [packet], descriptors)
        else:
            self.socket.send(packet)

    def receive(self):
        """The next reply; None if the server has closed."""
        packet = self.socket.recv(1 << 20)
        return json.loads(packet) if packet else None

    def request(self, command, **params):
        """Sends a request while no other is in flight, and answers its result."""
        id = self.send(command, **params)
        reply = self.receive()
        assert reply and reply["id"] == id and reply["ok"] and reply["version"] == 1, reply
        return reply["result"]

    def request_packet(self, packet):
        """Sends a packet that is no request, and answers the error."""
        self.send_packet(packet)
        reply = self.receive()
        assert reply and not reply["ok"] and reply["version"] == 1 and reply["errors"], reply
        return reply

    def end_output(self):
        """Closes the sending side."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()
