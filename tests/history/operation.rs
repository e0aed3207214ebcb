//! The parts of a history: operations, and holds of locks.

/// The return of a request without an answer.
pub(crate) const NEVER: u64 = u64::MAX;

/// A request to a mailbox, and its result. Times are nanoseconds since the start of the history.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub client: usize,
    pub mailbox: u32,
    pub called: u64,
    pub returned: u64,
    pub what: What,
}

/// A request and its answer. Each message is written once, so its number identifies it.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The newest message, if there was any.
    Read { version: u64, count: u64, message: Option<u64> },
    /// The next message after a version.
    Next { after: u64, version: u64, count: u64, lost: u64, message: u64 },
    /// A read that timed out.
    NothingNewer { version: u64 },
    /// A write. Its version is `None` if it was not answered.
    Write { message: u64, only_at: Option<u64>, version: Option<u64> },
    /// A write under a condition that did not hold.
    Conflict { only_at: u64, version: u64 },
    /// A put: version and count. `None` if it was not answered.
    Put { message: u64, drops: bool, made: Option<(u64, u64)> },
    /// A take: version, remaining count, and message. `None` if it was not answered.
    Take { taken: Option<(u64, u64, u64)> },
    /// A take that found no message.
    Empty,
    /// A put that found no room.
    Full,
    /// The request was not done, and its answer contains no state.
    Nothing,
}

/// A lock of one mailbox, held at least from the return of `lock` until the call of `unlock`.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub client: usize,
    pub mailbox: u32,
    pub grant: u64,
    pub shared: bool,
    pub called: u64,
    pub from: u64,
    pub until: u64,
}

/// A state of a mailbox: its version, and its count, negated so that later states are larger.
pub(crate) type State = (u64, i64);

pub(crate) fn state(version: u64, count: u64) -> State {
    (version, -(count as i64))
}

impl Operation {
    /// The earliest and the latest possible state of the mailbox after this request; `None` if the answer
    /// does not limit it.
    pub(crate) fn states(&self) -> Option<(State, State)> {
        let exactly = |version, count| Some((state(version, count), state(version, count)));
        match self.what {
            What::Read { version, count, .. } => exactly(version, count),
            What::Next { version, count, lost: 0, .. } => {
                Some((state(version, count), state(version + count - 1, count)))
            }
            // Older messages no longer exist, so this is the oldest in the mailbox.
            What::Next { version, count, .. } => exactly(version + count - 1, count),
            What::NothingNewer { version } | What::Conflict { version, .. } => {
                Some(((version, i64::MIN), (version, 0)))
            }
            What::Write { version: Some(version), .. } => exactly(version, 1),
            What::Put { made: Some((version, count)), .. } => exactly(version, count),
            What::Take { taken: Some((version, count, _)) } => exactly(version + count, count),
            _ => None,
        }
    }

    pub(crate) fn changes(&self) -> bool {
        matches!(self.what, What::Write { .. } | What::Put { .. } | What::Take { .. })
    }

    pub(crate) fn adds(&self) -> Option<u64> {
        match self.what {
            What::Write { message, .. } | What::Put { message, .. } => Some(message),
            _ => None,
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.returned != NEVER
    }

    /// Whether the request was certainly admitted to its mailbox and executed.
    pub(crate) fn was_in(&self) -> bool {
        self.is_answered()
            && !matches!(self.what, What::NothingNewer { .. } | What::Nothing | What::Empty | What::Full)
    }
}
