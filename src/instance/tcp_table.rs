//! The kernel's tables of TCP sockets.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::IpAddr;

/// The state of a listening socket in the tables. Source: include/net/tcp_states.h.
const LISTENING: &str = "0A";

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    /// Its address.
    pub address: IpAddr,
    /// The user of its process.
    pub user: u32,
}

/// The sockets that listen on `port` in this network namespace.
pub(super) fn listening_on(port: u16) -> io::Result<Vec<Listening>> {
    let mut sockets = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        match File::open(table) {
            Ok(file) => {
                for line in BufReader::new(file).lines() {
                    sockets.extend(listening(&line?, port));
                }
            }
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// The socket of a line of a table, if it listens on `port`. Source: proc_pid_net(5).
fn listening(line: &str, port: u16) -> Option<Listening> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (address, local_port) = local.rsplit_once(':')?;
    let is_listening = state == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
    // After three fields: queues, timer, retransmissions.
    let user = is_listening.then(|| fields.nth(3)).flatten()?.parse().ok()?;
    Some(Listening { address: address_of(address)?, user })
}

/// An address of a table: words of 32 bits, as this machine has them in memory, in hexadecimal digits.
fn address_of(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(digits.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match digits.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            <[u8; 16]>::try_from(words.concat()).ok().map(IpAddr::from)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_at(line: &str, port: u16) -> Option<(String, u32)> {
        listening(line, port).map(|socket| (socket.address.to_string(), socket.user))
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_address_and_the_user_of_a_listening_socket_are_found() {
        let line = "   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4 1";
        assert_eq!(listening_at(line, 5000), Some(("127.0.0.1".to_owned(), 1000)));
        assert_eq!(listening_at(line, 5001), None);
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(listening_at(&connected, 5000), None);
        for (digits, address) in [
            ("00000000000000000000000001000000", "::1"),
            ("B80D0120000000000000000002000000", "2001:db8::2"),
            ("00000000000000000000000000000000", "::"),
        ] {
            let ipv6 = line.replace("0100007F", digits);
            assert_eq!(listening_at(&ipv6, 5000), Some((address.to_owned(), 1000)));
        }
    }

    #[test]
    fn a_heading_or_a_damaged_line_has_no_socket() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr";
        let short = "0: 7F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4 1";
        for line in [head, "", "0: 0:1388 0:0 0A", short] {
            assert_eq!(listening(line, 5000), None, "{line}");
        }
    }
}
