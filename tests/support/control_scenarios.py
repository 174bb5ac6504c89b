"""What clients of control sockets do, right and wrong. Usage: control_scenarios.py ADDRESS SCENARIO

The commands are those of tests/control_python.rs.
"""

import errno
import json
import os
import select
import socket
import sys
import time

from control_client import Client, TIMEOUT


def wait_until(what, condition):
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.001)


def several_in_flight(address):
    client = Client(address)
    held = [client.send("hold", n=n) for n in range(20)]
    # Those that wait hold up nothing.
    assert client.request("echo", a=1) == {"a": 1}
    client.send("release")
    replies = [client.receive() for _ in range(21)]
    answered = {reply["id"]: reply["result"] for reply in replies}
    assert [answered[id] for id in held] == list(range(20)), replies
    order = [reply["id"] for reply in replies if reply["id"] in held]
    assert order == held[::-1], order


def violations(address):
    client = Client(address)

    def violation(code, packet, id=None):
        packet = packet if isinstance(packet, bytes) else json.dumps(packet).encode()
        reply = client.request_packet(packet)
        assert (reply["code"], reply.get("id")) == (code, id), (packet[:100], reply)
        assert client.request("echo", a=1) == {"a": 1}
        return reply

    for packet in [b"{", b"nonsense", b"\xff\xfe", b"\0", b"7", b"null", b'"echo"', b"{}{}", b"[" * 10000]:
        violation("invalid_request", packet)
    violation("invalid_request", [1, "echo", {}, "7"])
    violation("invalid_request", {"command": "echo", "id": "7"}, id="7")
    violation("invalid_request", {"version": 1, "id": "7"}, id="7")
    for version in [0, 2, -1, 1.5, "1", None, [1]]:
        violation("invalid_request", {"version": version, "command": "echo", "id": "7"}, id="7")
    violation("invalid_request", {"version": 1, "command": 5, "id": "7"}, id="7")
    violation("invalid_request", {"version": 1, "command": "echo", "id": 7})
    violation("invalid_request", {"version": 1, "command": "echo", "params": [], "id": "7"}, id="7")
    violation("invalid_request", {"version": 1, "command": "echo", "parms": {}, "id": "7"}, id="7")
    violation("invalid_request", b'{"version":1,"command":"echo","command":"fail","id":"7"}', id="7")
    nested = b'{"version":1,"command":"echo","params":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}"
    violation("invalid_request", nested)

    unknown = violation("unknown_command", {"version": 1, "command": "ecko", "id": "7"}, id="7")
    assert {"echo", "fail", "help", "hold"} <= set(unknown["commands"]), unknown
    violation("unknown_command", {"version": 1, "command": ""})
    violation("unknown_command", {"version": 1, "command": "\0\n\u2028"})
    missing = violation("invalid_params", {"version": 1, "command": "text", "id": "7"}, id="7")
    assert missing["errors"] == ["params.bytes: missing"], missing
    wrong = violation("invalid_params", {"version": 1, "command": "text", "params": {"bytes": "x"}})
    assert wrong["errors"][0].startswith("params.bytes: invalid type"), wrong

    failed = violation("twice", {"version": 1, "command": "fail", "id": "7"}, id="7")
    assert (failed["errors"], failed["hint"]) == (["one", "two"], "none"), failed


def ids_and_params_may_be_left_out(address):
    client = Client(address)
    client.send_packet(b'{"version":1,"command":"echo"}')
    assert client.receive() == {"version": 1, "ok": True, "result": {}}
    for id in ["", "\0\u00e4\u2028\"\\", "x" * 10000]:
        client.send_packet(json.dumps({"version": 1, "command": "echo", "id": id}).encode())
        assert client.receive() == {"version": 1, "id": id, "ok": True, "result": {}}


def empty_packets(address):
    client = Client(address)
    for _ in range(10):
        client.send_packet(b"")
        client.send_packet(b"")
        assert client.request("echo", a=1) == {"a": 1}
    # An empty packet is no end; and the end behind it is one.
    id = client.send("echo")
    client.send_packet(b"")
    client.end_output()
    assert client.receive()["id"] == id
    assert client.receive() is None


def oversized_packets(address):
    client = Client(address)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 512 << 10)

    def padded(length):
        request = b'{"version":1,"command":"echo","id":"7"}'
        return request + b" " * (length - len(request))

    limit = 256 << 10
    client.send_packet(padded(limit))
    assert client.receive()["result"] == {}
    # What is cut off is never taken for a request.
    for length in [limit + 1, limit + 1000, 400_000]:
        reply = client.request_packet(padded(length))
        assert (reply["code"], reply.get("id")) == ("invalid_request", None), reply
        assert client.request("echo", a=1) == {"a": 1}
    try:
        client.send_packet(b"x" * (64 << 20))
        assert False, "a packet of 64 MiB was sent"
    except OSError as error:
        assert error.errno in (errno.EMSGSIZE, errno.ENOBUFS), error
    assert client.request("echo", a=1) == {"a": 1}


def replies_that_are_too_large(address):
    client = Client(address)
    assert len(client.request("text", bytes=150_000)) == 150_000
    held = client.send("hold", n=1)
    for length in [1_000_000, 10_000_000]:
        id = client.send("text", bytes=length)
        reply = client.receive()
        assert (reply["id"], reply["code"]) == (id, "too_large"), reply
    client.send("release")
    assert held in {client.receive()["id"], client.receive()["id"]}


def half_close(address):
    client = Client(address)
    id = client.send("echo", a=1)
    client.end_output()
    reply = client.receive()
    assert (reply["id"], reply["result"]) == (id, {"a": 1}), reply
    assert client.receive() is None

    client, other = Client(address), Client(address)
    ids = {client.send("hold", n=n) for n in range(3)}
    client.end_output()
    wait_until("requests in flight", lambda: other.request("held") == 3)
    other.request("release")
    assert {client.receive()["id"] for _ in range(3)} == ids
    assert client.receive() is None


def passed_descriptors(address):
    witness = Client(address)
    before = witness.request("descriptors")
    client = Client(address)
    assert client.request("echo", a=1) == {"a": 1}
    reader, writer = os.pipe()
    for count in [1, 2, 253]:
        client.send("echo", descriptors=[writer] * count, a=count)
        assert client.receive()["result"] == {"a": count}
    client.send_packet(b"no request", descriptors=[writer] * 5)
    assert client.receive()["code"] == "invalid_request"
    # Along with a packet that is too long, and with an empty one.
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 512 << 10)
    client.send_packet(b" " * 300_000, descriptors=[writer])
    assert client.receive()["code"] == "invalid_request"
    client.send_packet(b"", descriptors=[writer])
    held = client.send("hold", descriptors=[writer], n=1)
    wait_until("the request", lambda: witness.request("held") == 1)
    assert witness.request("descriptors") == before + 1, "of the client"
    os.close(writer)
    assert os.read(reader, 1) == b"", "the server has none open either"
    witness.request("release")
    assert client.receive()["id"] == held
    # Those of a request that the server has not read yet go with the connection.
    for _ in range(20):
        client.close()
        client = Client(address)
        client.send("echo", descriptors=[reader] * 10)
    client.close()
    wait_until("as many descriptors as before", lambda: witness.request("descriptors") == before)


def never_reads(address):
    other = Client(address)
    other.request("text", bytes=10_000)
    before = other.request("memory")
    silent = Client(address)
    silent.socket.setblocking(False)
    sent = []
    while select.select([], [silent.socket], [], 0.5)[1]:
        try:
            sent.append(silent.send("text", bytes=10_000))
        except BlockingIOError:
            # Writable and full at once is what a Unix socket may be.
            continue
        assert len(sent) < 20_000, "it is read from without end"
        if len(sent) % 10 == 0:
            assert other.request("echo", n=len(sent)) == {"n": len(sent)}
    grown = other.request("memory") - before
    assert grown < 8 << 20, f"{grown} bytes for {len(sent)} requests"
    # A busy neighbour is served all the same; and all is there once it reads.
    for n in range(100):
        assert other.request("echo", n=n) == {"n": n}
    silent.socket.settimeout(TIMEOUT)
    assert [silent.receive()["id"] for _ in sent] == sent
    assert silent.request("echo", a=1) == {"a": 1}


def leaves_without_reading(address):
    witness = Client(address)
    before = witness.request("descriptors")
    for n in range(50):
        client = Client(address)
        client.send("hold", n=n)
        wait_until("the request", lambda: witness.request("held") == n + 1)
        for _ in range(5):
            client.send("text", bytes=1000)
        client.close()
    # Answers for those who have gone are nobody's.
    assert witness.request("release") is None
    wait_until("as many descriptors as before", lambda: witness.request("descriptors") == before)


def inactivity(address):
    """The server's limit is one second."""
    silent, active, waiting = Client(address), Client(address), Client(address)
    held = waiting.send("hold", n=1)
    begin = time.monotonic()
    # Requests and their replies count, and so does each packet that is no request.
    for n in range(8):
        time.sleep(0.2)
        active.request("echo", n=n)
    assert silent.receive() is None
    assert time.monotonic() - begin >= 1
    active.request("release")
    assert waiting.receive()["id"] == held, "who waits for an answer is not inactive"
    active.request("set_inactivity", ms=0)
    begin = time.monotonic()
    assert waiting.receive() is None
    assert time.monotonic() - begin >= 0.9
    assert active.request("echo", a=1) == {"a": 1}
    active.request("set_inactivity", ms=50)
    assert active.receive() is None


def consecutive_errors(address):
    """The server's limits are three in a row, and six in all."""
    client = Client(address)
    for _ in range(2):
        assert client.request_packet(b"{")["code"] == "invalid_request"
        assert client.request_packet(b"{")["code"] == "invalid_request"
        assert client.request("counts")["out_consecutive_err_msg_count"] == 2
    counts = client.request("counts")
    expected = {"in_msg_count": 7, "out_msg_count": 6, "out_err_msg_count": 4, "out_consecutive_err_msg_count": 0}
    assert counts == expected, counts
    client.request_packet(b"{")
    client.request("counts")
    assert client.request_packet(b"{")["code"] == "invalid_request", "the sixth is delivered"
    assert client.receive() is None

    client = Client(address)
    codes = [client.request_packet(packet)["code"] for packet in [b"{", b'{"version":1,"command":"x"}', b"7"]]
    assert codes == ["invalid_request", "unknown_command", "invalid_request"]
    assert client.receive() is None

    # Sent all at once, those behind the last get no answer.
    client = Client(address)
    for n in range(10):
        client.send_packet(b"{")
    replies = []
    try:
        while reply := client.receive():
            replies.append(reply)
    except ConnectionResetError:
        # It is a reset, as packets were left; what was sent before can still be read.
        while reply := client.receive():
            replies.append(reply)
    assert len(replies) == 3, replies


def another_user(address):
    """A path that is open to this process's user alone at first."""
    owner = Client(address)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        Client(address)
        assert False, "the path is open to others"
    except PermissionError:
        pass
    owner.request("set_mode", mode=0o666)
    for _ in range(3):
        client = Client(address)
        refusal = client.receive()
        assert (refusal["ok"], refusal["code"], "id" in refusal) == (False, "refused", False), refusal
        assert client.receive() is None
        assert owner.request("echo", a=1) == {"a": 1}, "who was there before is served as before"
    owner.request("set_mode", mode=0o600)
    try:
        Client(address)
        assert False, "the path is open to others again"
    except PermissionError:
        pass


if __name__ == "__main__":
    globals()[sys.argv[2]](sys.argv[1])
