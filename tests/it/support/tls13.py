"""A TLS 1.3 server by pyOpenSSL, which brings a newer OpenSSL than Debian's: KEY CERTIFICATE.

Says OpenSSL's version and its port, then greets every connection."""

import socket
import sys

from OpenSSL import SSL

context = SSL.Context(SSL.TLS_SERVER_METHOD)
context.set_min_proto_version(SSL.TLS1_3_VERSION)
context.use_privatekey_file(sys.argv[1])
context.use_certificate_chain_file(sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode(), listener.getsockname()[1], flush=True)
while True:
    peer, _ = listener.accept()
    connection = SSL.Connection(context, peer)
    connection.set_accept_state()
    try:
        connection.do_handshake()
        connection.send(b"+OK\r\n")
        connection.recv(1)
    except SSL.Error:
        pass  # the other side refused, or is gone
    peer.close()
