//! Control sockets: requests and replies in JSON over a Unix SOCK_SEQPACKET socket.
