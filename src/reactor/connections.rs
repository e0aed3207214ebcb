//! The table of all clients.

use mio::Token;
use slab::Slab;

use super::connection::Connection;
use super::phase::Phase;
use super::transport::Transport;
use crate::workers::ConnectionId;

/// Connections by slot, each with the generation that tells it from earlier ones of its slot.
#[derive(Debug)]
pub struct Connections<W> {
    slots: Slab<Connection<W>>,
    generation: u32,
}

impl<W: Transport> Connections<W> {
    /// A table with room for `max` clients, reserved now.
    pub fn with_capacity(max: usize) -> Self {
        Connections { slots: Slab::with_capacity(max), generation: 0 }
    }

    /// Enters the connection that `make` makes of its new generation.
    pub fn insert(&mut self, make: impl FnOnce(u32) -> Connection<W>) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slots.insert(make(self.generation));
        ConnectionId {
            slot: u32::try_from(slot).expect("bounded by the descriptors"),
            generation: self.generation,
        }
    }

    /// The connection, if it is still this one and not closed.
    pub fn find(&mut self, id: ConnectionId) -> Option<&mut Connection<W>> {
        self.slots.get_mut(id.slot as usize).filter(|connection| {
            connection.generation == id.generation && !matches!(connection.phase(), Phase::Closed)
        })
    }

    /// The same, only to look at.
    pub fn look(&self, id: ConnectionId) -> Option<&Connection<W>> {
        self.slots.get(id.slot as usize).filter(|connection| {
            connection.generation == id.generation && !matches!(connection.phase(), Phase::Closed)
        })
    }

    /// Removes a connection and closes its socket.
    pub fn remove(&mut self, id: ConnectionId) {
        let removed = self.slots.remove(id.slot as usize);
        assert_eq!(removed.generation, id.generation, "a connection is removed once");
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Everybody.
    pub fn ids(&self) -> Vec<ConnectionId> {
        let id = |(slot, connection): (usize, &Connection<W>)| ConnectionId {
            slot: slot as u32,
            generation: connection.generation,
        };
        self.slots.iter().map(id).collect()
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection<W>)> {
        self.slots.iter().map(|(slot, connection)| {
            (ConnectionId { slot: slot as u32, generation: connection.generation }, connection)
        })
    }
}

/// Tokens below this are the reactor's own sources.
pub const FIRST_TOKEN: usize = 16;

/// The token of a connection: an event for one that is gone finds nobody.
pub fn token_of(id: ConnectionId) -> Token {
    Token(((id.generation as usize) << 32 | id.slot as usize) + FIRST_TOKEN)
}

/// The connection of a token.
pub fn id_of(token: Token) -> ConnectionId {
    let value = token.0 - FIRST_TOKEN;
    ConnectionId { slot: value as u32, generation: (value >> 32) as u32 }
}
