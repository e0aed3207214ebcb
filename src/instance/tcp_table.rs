//! The kernel's tables of TCP sockets.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};

/// The state of a listening socket in the tables. Source: include/net/tcp_states.h.
const LISTENING: &str = "0A";

/// The users whose processes listen on `port`, at any address of this network namespace.
pub(super) fn users_listening_on(port: u16) -> io::Result<Vec<u32>> {
    let mut users = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        match File::open(table) {
            Ok(file) => {
                for line in BufReader::new(file).lines() {
                    users.extend(listening_user(&line?, port));
                }
            }
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(users)
}

/// The user of a line of a table, if its socket listens on `port`. Source: proc_pid_net(5).
fn listening_user(line: &str, port: u16) -> Option<u32> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, local_port) = local.rsplit_once(':')?;
    let is_listening = state == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
    // After three fields: queues, timer, retransmissions.
    is_listening.then(|| fields.nth(3)).flatten()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_listening_socket_is_found() {
        let line = "   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4 1";
        assert_eq!(listening_user(line, 5000), Some(1000));
        assert_eq!(listening_user(line, 5001), None);
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(listening_user(&connected, 5000), None);
        let ipv6 = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(listening_user(&ipv6, 5000), Some(1000));
    }

    #[test]
    fn a_heading_or_a_damaged_line_has_no_user() {
        for line in ["  sl  local_address rem_address   st tx_queue rx_queue tr", "", "0: 0:1388 0:0 0A"] {
            assert_eq!(listening_user(line, 5000), None, "{line}");
        }
    }
}
