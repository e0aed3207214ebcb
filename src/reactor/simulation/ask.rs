//! What a client may ask, and its bytes: the protocol's text, not the server's types.

use std::time::Duration;

/// How long a client is willing to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// The server's own.
    Unsaid,
    For(Duration),
    Endless,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Read {
        mailbox: u32,
        after: Option<u64>,
        part: Option<(u64, u64)>,
        wait: Patience,
    },
    Write {
        mailbox: u32,
        expected: Option<u64>,
        offset: Option<u64>,
        body: Vec<u8>,
        wait: Patience,
    },
    Put {
        mailbox: u32,
        dropping: bool,
        body: Vec<u8>,
        wait: Patience,
    },
    Take {
        mailbox: u32,
        wait: Patience,
    },
    Lock {
        mailboxes: Vec<u32>,
        shared: bool,
        wait: Patience,
        ttl: Option<Duration>,
    },
    /// `None` is `*`.
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
    /// Something about which only the kind of the answer is known.
    Told {
        line: String,
        word: &'static str,
    },
    /// Something wrong, and the code of the error.
    Wrong {
        line: String,
        code: &'static str,
    },
    Quit,
}

impl Ask {
    /// The mailboxes that it concerns, ascending.
    pub fn mailboxes(&self) -> Vec<u32> {
        match self {
            Ask::Read { mailbox, .. } | Ask::Write { mailbox, .. } => vec![*mailbox],
            Ask::Put { mailbox, .. } | Ask::Take { mailbox, .. } => vec![*mailbox],
            Ask::Lock { mailboxes, .. } => {
                let mut sorted = mailboxes.clone();
                sorted.sort_unstable();
                sorted
            }
            _ => Vec::new(),
        }
    }

    /// Whether it has to be alone in its mailboxes.
    pub fn is_exclusive(&self) -> bool {
        match self {
            Ask::Write { .. } | Ask::Put { .. } | Ask::Take { .. } => true,
            Ask::Lock { shared, .. } => !shared,
            _ => false,
        }
    }

    /// How long it may wait, when it may wait at all.
    pub fn patience(&self) -> Option<Patience> {
        match self {
            Ask::Read { wait, .. } | Ask::Write { wait, .. } | Ask::Put { wait, .. } => Some(*wait),
            Ask::Take { wait, .. } | Ask::Lock { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Whether it can have been in without success, and wait aside.
    pub fn may_be_aside(&self) -> bool {
        match self {
            Ask::Read { after, .. } => after.is_some(),
            Ask::Put { dropping, .. } => !dropping,
            Ask::Take { .. } => true,
            _ => false,
        }
    }

    /// What it brings along.
    pub fn body(&self) -> Option<&[u8]> {
        match self {
            Ask::Write { body, .. } | Ask::Put { body, .. } => Some(body),
            _ => None,
        }
    }

    /// The bytes; a body's length is said if `counted`.
    pub fn encode(&self, eol: &str, counted: bool) -> Vec<u8> {
        let mut line = self.words();
        let Some(body) = self.body() else { return [line.as_bytes(), eol.as_bytes()].concat() };
        if counted {
            // Behind the verb and the mailbox; keys may stand anywhere.
            let at = line.match_indices(' ').nth(1).map_or(line.len(), |(at, _)| at);
            line.insert_str(at, &format!(" {}", body.len()));
        }
        [line.as_bytes(), eol.as_bytes(), body, eol.as_bytes()].concat()
    }

    fn words(&self) -> String {
        let key =
            |name: &str, value: Option<u64>| value.map_or(String::new(), |value| format!(" {name}={value}"));
        match self {
            Ask::Read { mailbox, after, part, wait } => {
                let (offset, len) = part.unzip();
                let (offset, len) = (key("off", offset), key("len", len));
                format!("r {mailbox}{}{offset}{len}{}", key("after", *after), waiting(*wait))
            }
            Ask::Write { mailbox, expected, offset, wait, .. } => {
                format!("w {mailbox}{}{}{}", key("if", *expected), key("off", *offset), waiting(*wait))
            }
            Ask::Put { mailbox, dropping, wait, .. } => {
                format!("put {mailbox}{}{}", if *dropping { " full=drop" } else { "" }, waiting(*wait))
            }
            Ask::Take { mailbox, wait } => format!("take {mailbox}{}", waiting(*wait)),
            Ask::Lock { mailboxes, shared, wait, ttl } => {
                let shared = if *shared { " r" } else { "" };
                let ttl = ttl.map_or(String::new(), |ttl| format!(" ttl={}", seconds(ttl)));
                format!("lock {}{shared}{}{ttl}", list(mailboxes), waiting(*wait))
            }
            Ask::Unlock { mailboxes, grant } => {
                format!("unlock {}{}", list_or_all(mailboxes), key("grant", *grant))
            }
            Ask::Watch { mailboxes, after } => format!("watch {}{}", list(mailboxes), key("after", *after)),
            Ask::Unwatch { mailboxes } => format!("unwatch {}", list_or_all(mailboxes)),
            Ask::Told { line, .. } | Ask::Wrong { line, .. } => line.clone(),
            Ask::Quit => "q".into(),
        }
    }
}

fn waiting(patience: Patience) -> String {
    match patience {
        Patience::Unsaid => String::new(),
        Patience::For(wait) => format!(" wait={}", seconds(wait)),
        Patience::Endless => " wait=inf".into(),
    }
}

/// To the millisecond; less is never said.
fn seconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_secs(), duration.subsec_millis())
}

fn list(mailboxes: &[u32]) -> String {
    mailboxes.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn list_or_all(mailboxes: &Option<Vec<u32>>) -> String {
    mailboxes.as_deref().map_or("*".into(), list)
}
