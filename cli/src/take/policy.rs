//! What happens to a message after its command, and what the worker does next. Pure: no request is sent here.

use crate::options::TakeOptions;

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    /// A signal has asked this program to end.
    Stopped,
    /// The command could not be started.
    NotStarted,
    /// The command was not started: the message was handed out too often.
    Skipped,
}

/// What happens to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Remove,
    GiveBack,
    /// Put into the mailbox of `--failed`, then removed.
    Move,
}

/// What the worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    /// Waits, then continues: the same message may be the next one.
    Pause,
    End,
}

/// The options that decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    every: bool,
    max_tries: Option<u64>,
    /// Whether there is a mailbox for messages that have failed.
    moves: bool,
}

impl Policy {
    pub(super) fn new(options: &TakeOptions) -> Self {
        Policy { every: options.every, max_tries: options.max_tries, moves: options.failed.is_some() }
    }

    /// Whether no command runs for a message that was handed out this many times: the program of the last try
    /// has ended without giving it back, or the message was lost in it.
    pub(super) fn skips(self, tries: u64) -> bool {
        self.max_tries.is_some_and(|max| tries > max)
    }

    pub(super) fn decide(self, outcome: Outcome, tries: u64) -> (Action, Next) {
        let is_last = self.max_tries.is_some_and(|max| tries >= max);
        let (action, next) = match (outcome, self.moves) {
            (Outcome::Succeeded, _) => (Action::Remove, Next::Continue),
            (Outcome::Stopped | Outcome::NotStarted, _) => (Action::GiveBack, Next::End),
            (Outcome::Failed, true) if is_last => (Action::Move, Next::Pause),
            (Outcome::Failed, false) if is_last => (Action::GiveBack, Next::End),
            (Outcome::Failed, _) => (Action::GiveBack, Next::Pause),
            (Outcome::Skipped, true) => (Action::Move, Next::Continue),
            (Outcome::Skipped, false) => (Action::GiveBack, Next::End),
        };
        (action, if self.every { next } else { Next::End })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Policy = Policy { every: true, max_tries: None, moves: false };

    #[test]
    fn without_a_limit_a_failure_gives_the_message_back() {
        assert_eq!(EVERY.decide(Outcome::Succeeded, 1), (Action::Remove, Next::Continue));
        assert_eq!(EVERY.decide(Outcome::Failed, u64::MAX), (Action::GiveBack, Next::Pause));
        assert!(!EVERY.skips(u64::MAX));
        let once = Policy { every: false, ..EVERY };
        assert_eq!(once.decide(Outcome::Succeeded, 1), (Action::Remove, Next::End));
        assert_eq!(once.decide(Outcome::Failed, 1), (Action::GiveBack, Next::End));
    }

    #[test]
    fn the_last_try_moves_the_message_or_ends_the_worker() {
        let ends = Policy { max_tries: Some(3), ..EVERY };
        let moves = Policy { moves: true, ..ends };
        for policy in [ends, moves] {
            assert_eq!(policy.decide(Outcome::Failed, 2), (Action::GiveBack, Next::Pause));
            assert_eq!(policy.decide(Outcome::Succeeded, 3), (Action::Remove, Next::Continue));
            assert_eq!((policy.skips(3), policy.skips(4)), (false, true));
        }
        assert_eq!(ends.decide(Outcome::Failed, 3), (Action::GiveBack, Next::End));
        assert_eq!(ends.decide(Outcome::Skipped, 4), (Action::GiveBack, Next::End));
        assert_eq!(moves.decide(Outcome::Failed, 3), (Action::Move, Next::Pause));
        assert_eq!(moves.decide(Outcome::Skipped, 4), (Action::Move, Next::Continue));
    }

    /// The message is not the cause of either: it is not moved.
    #[test]
    fn a_signal_and_a_missing_program_give_the_message_back_and_end_the_worker() {
        let moves = Policy { max_tries: Some(1), moves: true, ..EVERY };
        for outcome in [Outcome::Stopped, Outcome::NotStarted] {
            assert_eq!(moves.decide(outcome, 1), (Action::GiveBack, Next::End));
        }
    }
}
