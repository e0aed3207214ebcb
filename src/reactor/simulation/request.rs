//! The requests of the simulated clients and their encoding. This module is written from the text of the
//! protocol and does not use the server's types.

use std::time::Duration;

/// The `wait=` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// No `wait=`: the server's default applies.
    Default,
    For(Duration),
    Forever,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientRequest {
    Read {
        mailbox: u32,
        after: Option<u64>,
        part: Option<(u64, u64)>,
        wait: Wait,
    },
    Write {
        mailbox: u32,
        expected: Option<u64>,
        offset: Option<u64>,
        body: Vec<u8>,
        wait: Wait,
    },
    Put {
        mailbox: u32,
        drop_oldest: bool,
        body: Vec<u8>,
        wait: Wait,
    },
    Take {
        mailbox: u32,
        ttl: Option<Duration>,
        wait: Wait,
    },
    Done {
        mailbox: u32,
        version: u64,
        wait: Wait,
    },
    Back {
        mailbox: u32,
        version: u64,
        wait: Wait,
    },
    Lock {
        mailboxes: Vec<u32>,
        shared: bool,
        wait: Wait,
        ttl: Option<Duration>,
    },
    /// `None` stands for `*`.
    Unlock {
        mailboxes: Option<Vec<u32>>,
        grant: Option<u64>,
    },
    Watch {
        mailboxes: Vec<u32>,
        after: Option<u64>,
    },
    Unwatch {
        mailboxes: Option<Vec<u32>>,
    },
    /// A request for which only the first word of the reply is checked.
    Info {
        line: String,
        word: &'static str,
    },
    /// An invalid request, and the code of the expected `ERR`.
    Invalid {
        line: String,
        code: &'static str,
    },
    Quit,
}

impl ClientRequest {
    /// The mailboxes that the request needs admission to, in ascending order.
    pub(super) fn mailboxes(&self) -> Vec<u32> {
        match self {
            ClientRequest::Read { mailbox, .. } | ClientRequest::Write { mailbox, .. } => vec![*mailbox],
            ClientRequest::Put { mailbox, .. } | ClientRequest::Take { mailbox, .. } => vec![*mailbox],
            ClientRequest::Done { mailbox, .. } | ClientRequest::Back { mailbox, .. } => vec![*mailbox],
            ClientRequest::Lock { mailboxes, .. } => {
                let mut sorted = mailboxes.clone();
                sorted.sort_unstable();
                sorted
            }
            _ => Vec::new(),
        }
    }

    /// Whether the request needs exclusive access to its mailboxes.
    pub(super) fn is_exclusive(&self) -> bool {
        match self {
            ClientRequest::Write { .. } | ClientRequest::Put { .. } | ClientRequest::Take { .. } => true,
            ClientRequest::Done { .. } | ClientRequest::Back { .. } => true,
            ClientRequest::Lock { shared, .. } => !shared,
            _ => false,
        }
    }

    pub(super) fn is_lock(&self) -> bool {
        matches!(self, ClientRequest::Lock { .. })
    }

    /// The `wait=` of the request. `None` if the request never waits.
    pub(super) fn wait(&self) -> Option<Wait> {
        match self {
            ClientRequest::Read { wait, .. }
            | ClientRequest::Write { wait, .. }
            | ClientRequest::Put { wait, .. } => Some(*wait),
            ClientRequest::Take { wait, .. } | ClientRequest::Lock { wait, .. } => Some(*wait),
            ClientRequest::Done { wait, .. } | ClientRequest::Back { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Whether the request may be admitted and then wait for a condition of its mailbox.
    pub(super) fn may_wait_for_condition(&self) -> bool {
        match self {
            ClientRequest::Read { after, .. } => after.is_some(),
            ClientRequest::Put { drop_oldest, .. } => !drop_oldest,
            ClientRequest::Take { .. } => true,
            _ => false,
        }
    }

    /// The body, if the request has one.
    pub(super) fn body(&self) -> Option<&[u8]> {
        match self {
            ClientRequest::Write { body, .. } | ClientRequest::Put { body, .. } => Some(body),
            _ => None,
        }
    }

    /// The encoded request. With `has_length`, the header states the length of the body.
    pub(super) fn encode(&self, eol: &str, has_length: bool) -> Vec<u8> {
        let mut line = self.header();
        let Some(body) = self.body() else { return [line.as_bytes(), eol.as_bytes()].concat() };
        if has_length {
            // The length follows the verb and the mailbox. Keys may have any position.
            let at = line.match_indices(' ').nth(1).map_or(line.len(), |(at, _)| at);
            line.insert_str(at, &format!(" {}", body.len()));
        }
        [line.as_bytes(), eol.as_bytes(), body, eol.as_bytes()].concat()
    }

    fn header(&self) -> String {
        let key =
            |name: &str, value: Option<u64>| value.map_or(String::new(), |value| format!(" {name}={value}"));
        match self {
            ClientRequest::Read { mailbox, after, part, wait } => {
                let (offset, len) = part.unzip();
                let (offset, len) = (key("off", offset), key("len", len));
                format!("r {mailbox}{}{offset}{len}{}", key("after", *after), wait_key(*wait))
            }
            ClientRequest::Write { mailbox, expected, offset, wait, .. } => {
                format!("w {mailbox}{}{}{}", key("if", *expected), key("off", *offset), wait_key(*wait))
            }
            ClientRequest::Put { mailbox, drop_oldest, wait, .. } => {
                format!("put {mailbox}{}{}", if *drop_oldest { " full=drop" } else { "" }, wait_key(*wait))
            }
            ClientRequest::Take { mailbox, ttl, wait } => {
                let ttl = ttl.map_or(String::new(), |ttl| format!(" ttl={}", seconds(ttl)));
                format!("take {mailbox}{ttl}{}", wait_key(*wait))
            }
            ClientRequest::Done { mailbox, version, wait } => {
                format!("done {mailbox}{}{}", key("v", Some(*version)), wait_key(*wait))
            }
            ClientRequest::Back { mailbox, version, wait } => {
                format!("back {mailbox}{}{}", key("v", Some(*version)), wait_key(*wait))
            }
            ClientRequest::Lock { mailboxes, shared, wait, ttl } => {
                let shared = if *shared { " r" } else { "" };
                let ttl = ttl.map_or(String::new(), |ttl| format!(" ttl={}", seconds(ttl)));
                format!("lock {}{shared}{}{ttl}", list(mailboxes), wait_key(*wait))
            }
            ClientRequest::Unlock { mailboxes, grant } => {
                format!("unlock {}{}", list_or_all(mailboxes), key("grant", *grant))
            }
            ClientRequest::Watch { mailboxes, after } => {
                format!("watch {}{}", list(mailboxes), key("after", *after))
            }
            ClientRequest::Unwatch { mailboxes } => format!("unwatch {}", list_or_all(mailboxes)),
            ClientRequest::Info { line, .. } | ClientRequest::Invalid { line, .. } => line.clone(),
            ClientRequest::Quit => "q".into(),
        }
    }
}

fn wait_key(wait: Wait) -> String {
    match wait {
        Wait::Default => String::new(),
        Wait::For(wait) => format!(" wait={}", seconds(wait)),
        Wait::Forever => " wait=inf".into(),
    }
}

/// Seconds with three decimals. The simulation uses no smaller fractions.
fn seconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_secs(), duration.subsec_millis())
}

fn list(mailboxes: &[u32]) -> String {
    mailboxes.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn list_or_all(mailboxes: &Option<Vec<u32>>) -> String {
    mailboxes.as_deref().map_or("*".into(), list)
}
