//! Checks of the options of `dipc` together: combinations that are refused, and values that are limited.

use clap::error::ErrorKind;

use super::{HOLD_MAX, MB, PACKET_KB_MAX, ServerOptions, client_memory_share, machine_memory};

/// The first port that is not reserved for the system. A lower one may be another number in the place of the
/// port.
const USER_PORT_MIN: u64 = 1024;

impl ServerOptions {
    /// Why a server cannot be started with this combination of options.
    pub(super) fn objection(&self) -> Option<(ErrorKind, String)> {
        let conflict = self.conflict().map(|text| (ErrorKind::ArgumentConflict, text.to_owned()));
        conflict.or_else(|| Some((ErrorKind::ValueValidation, self.implausible()?)))
    }

    /// Why two options exclude each other.
    fn conflict(&self) -> Option<&'static str> {
        if !self.bind().is_loopback() && !self.open {
            return Some("clients on other machines could connect; add --open to allow that");
        }
        if self.classic.is_some() && self.quiet_ms == 0 {
            return Some("--classic needs a --quiet-ms above 0: silence ends the requests of its clients");
        }
        if self.fresh && self.resize {
            return Some("--fresh deletes what --resize would keep; omit one of them");
        }
        if self.takeover && self.fresh {
            return Some("--takeover keeps the mailboxes, --fresh deletes them; omit one of them");
        }
        if self.takeover && self.resize {
            return Some("--takeover needs mailboxes of the same number and size; omit it or --resize");
        }
        if self.takeover && self.port == 0 {
            return Some("--takeover needs a PORT above 0: that of the running server");
        }
        match self.no_tcp {
            false => None,
            true if self.unix.is_none() => Some("--no-tcp needs --unix: clients could not connect"),
            true if self.classic.is_some() => Some("--classic listens on TCP; omit it or --no-tcp"),
            true if self.bind.is_some() => Some("--bind is an address for TCP; omit it or --no-tcp"),
            true if self.open => Some("--open allows clients over TCP; omit it or --no-tcp"),
            true if self.port == 0 => {
                Some("--no-tcp needs a PORT above 0: it names the directory of the data")
            }
            true => None,
        }
    }

    /// Why a number is probably a mistake.
    fn implausible(&self) -> Option<String> {
        if let Some(likely) = self.likely_order().filter(|_| !self.low_port) {
            return Some(format!(
                "{} mailboxes of {} kB on port {} with requests of {} kB? The order is MAILBOXES SIZE_KB \
                 PORT PACKET_KB, for example: dipc {likely}\n\nIf the port is {}, add --low-port.",
                self.mailboxes,
                self.size_kb,
                self.port,
                self.packet_kb(),
                self.port
            ));
        }
        let needed_mb = self.least_client_memory().div_ceil(MB);
        self.client_memory.filter(|limit| *limit < needed_mb).map(|_| {
            format!(
                "--client-memory must be at least {needed_mb}: with SIZE_KB {} that is two of the \
                 largest answers",
                self.size_kb
            )
        })
    }

    /// The four numbers in the order that was probably meant: the port is below 1024, and another number is
    /// not, and can be a port. `None` if the numbers are plausible.
    fn likely_order(&self) -> Option<String> {
        let port = u64::from(self.port);
        if !(1..USER_PORT_MIN).contains(&port) {
            return None;
        }
        let can_be_port = |number: u64| (USER_PORT_MIN..=u64::from(u16::MAX)).contains(&number);
        let (mailboxes, size, packet) = (u64::from(self.mailboxes), self.size_kb, self.packet_kb());
        let numbers = match () {
            () if can_be_port(mailboxes) => [port, size, mailboxes, packet],
            () if can_be_port(packet) => [mailboxes, size, packet, port],
            () if can_be_port(size) => [mailboxes, port, size, packet],
            () => return None,
        };
        Some(numbers.map(|number| number.to_string()).join(" "))
    }

    /// The limits that are other than the options or their defaults say, for people.
    pub(crate) fn adjusted(&self) -> Vec<String> {
        self.adjusted_on(machine_memory())
    }

    /// [`ServerOptions::adjusted`] on a machine with this memory in bytes; 0 if it is unknown.
    fn adjusted_on(&self, machine_memory: u64) -> Vec<String> {
        let hold = (self.max_hold > HOLD_MAX).then(|| "--max-hold is limited to 100 years".to_owned());
        let packet = (self.packet_kb.is_none() && self.size_kb > PACKET_KB_MAX)
            .then(|| format!("PACKET_KB is {PACKET_KB_MAX}, its maximum, and not SIZE_KB"));
        let exceeds = (self.packet_kb() > self.size_kb).then(|| {
            let (packet, size) = (self.packet_kb(), self.size_kb);
            format!("PACKET_KB {packet} is larger than SIZE_KB {size}: a message has at most {size} kB")
        });
        let share = client_memory_share(machine_memory);
        let is_raised = self.client_memory.is_none() && (1..self.least_client_memory()).contains(&share);
        let memory = is_raised.then(|| {
            format!(
                "the memory for clients is {} MB, more than an eighth of the machine's: two of the largest \
                 answers need it",
                self.least_client_memory().div_ceil(MB)
            )
        });
        [hold, packet, exceeds, memory].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_number_in_the_place_of_the_port_is_noticed() {
        let likely = |numbers: &str| {
            let words = ["dipc"].into_iter().chain(numbers.split(' '));
            ServerOptions::parse_from(words).likely_order()
        };
        for (numbers, order) in [
            ("5000 64 8 4", "8 64 5000 4"),
            ("4 64 8 5000", "4 64 5000 8"),
            ("4 5000 64 8", "4 64 5000 8"),
            ("1024 64 1023 4", "1023 64 1024 4"),
        ] {
            assert_eq!(likely(numbers).as_deref(), Some(order), "{numbers}");
        }
        for plausible in ["4 64 5000 8", "4 64 80 8", "5000 64 1024 8", "5000 64 0 8", "100000 64 80 8"] {
            assert_eq!(likely(plausible), None, "{plausible}");
        }
    }

    #[test]
    fn without_tcp_no_option_of_tcp_is_valid() {
        let conflict = |words: &str| {
            let words = ["dipc"].into_iter().chain(words.split(' '));
            ServerOptions::parse_from(words).conflict().unwrap_or_default()
        };
        for (words, reason) in [
            ("4 64 5000 --no-tcp", "needs --unix"),
            ("4 64 0 --no-tcp --unix s", "needs a PORT above 0"),
            ("4 64 5000 --no-tcp --unix s --classic 5001", "--classic"),
            ("4 64 5000 --no-tcp --unix s --classic 5000", "--classic"),
            ("4 64 5000 --no-tcp --unix s --bind 127.0.0.1", "--bind"),
            ("4 64 5000 --no-tcp --unix s --open", "--open"),
        ] {
            assert!(conflict(words).contains(reason), "{words}: {:?}", conflict(words));
        }
        assert_eq!(conflict("4 64 5000 --no-tcp --unix s"), "");
    }

    #[test]
    fn a_takeover_names_its_server_and_keeps_its_mailboxes() {
        let conflict = |words: &str| {
            let words = ["dipc"].into_iter().chain(words.split(' '));
            ServerOptions::parse_from(words).conflict().unwrap_or_default()
        };
        assert!(conflict("4 64 5000 --takeover --fresh").contains("--fresh"));
        assert!(conflict("4 64 5000 --takeover --resize").contains("--resize"));
        assert!(conflict("4 64 0 --takeover").contains("PORT above 0"));
        assert_eq!(conflict("4 64 5000 --takeover"), "");
    }

    #[test]
    fn limits_other_than_the_defaults_are_told() {
        let adjusted = |words: &str, machine_mb: u64| {
            let words = ["dipc"].into_iter().chain(words.split(' '));
            ServerOptions::parse_from(words).adjusted_on(machine_mb * MB)
        };
        // Two answers of 1 MB, each after 1 MB of earlier answers, need 4 MB.
        assert_eq!(adjusted("4 1024 5000", 32), [""; 0]);
        assert_eq!(adjusted("4 1024 5000", 31).len(), 1);
        assert!(adjusted("4 1024 5000", 31)[0].starts_with("the memory for clients is 4 MB"));
        assert_eq!(adjusted("4 1024 5000 --client-memory 4", 31), [""; 0]);
        assert_eq!(adjusted("4 1024 5000", 0), [""; 0]);

        let large = 1 << 20;
        assert_eq!(adjusted("4 1048576 5000", large), [""; 0]);
        assert!(adjusted("4 1048577 5000", large)[0].starts_with("PACKET_KB is 1048576"));
        assert_eq!(adjusted("4 1048577 5000 8", large), [""; 0]);

        assert_eq!(adjusted("4 64 5000 --max-hold 3153600000", large), [""; 0]);
        assert_eq!(
            adjusted("4 64 5000 --max-hold 3153600001", large),
            ["--max-hold is limited to 100 years"]
        );
    }
}
