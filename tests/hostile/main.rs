//! Clients that never read, that send byte by byte, that half-close, that reset, that pipeline without end,
//! that speak another protocol, or whose requests are long. They get the answers of the protocol, cost a
//! bounded amount of memory, and delay no other client.

mod ancillary;
mod leaving;
mod memory;
mod pipelining;
mod refused;
mod scene;
mod slow;
mod ticks;
mod unread;
