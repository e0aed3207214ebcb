//! Clients of the classic port: bare datagrams over TCP, frames, packets of UDP. Their bytes go to the real
//! server, also on PORT, whose answers stay as they are.

mod clients;
mod frames;
mod start;
mod telnet;
mod udp;

use dipc_testkit::server::Server;

/// A server with a classic port, and packets of 8 kB.
fn server() -> Server {
    Server::start("4 64 0 8 --classic 0")
}
