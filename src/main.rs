//! `dipc MAILBOXES SIZE_KB PORT PACKET_KB`: starts a server.

use std::process::ExitCode;

use dipc::memory::CountingAllocator;
use dipc::options::ServerOptions;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    dipc::instance::start(&ServerOptions::from_command_line())
}
