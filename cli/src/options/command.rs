//! Properties of a parsed command.

use dipc::client::Mailbox;

use super::{Command, Data, DumpOptions};
use crate::outer_locks::Admission;
use crate::{identity, outer_locks};

impl Command {
    /// The mailboxes that the command has to be admitted to.
    pub(crate) fn mailboxes(&self) -> &[Mailbox] {
        match self {
            Command::Read { mailbox, .. }
            | Command::Write { mailbox, .. }
            | Command::Put { mailbox, .. }
            | Command::Edit { mailbox, .. } => std::slice::from_ref(&mailbox.id),
            Command::Take(options) => std::slice::from_ref(&options.mailbox.id),
            Command::Done { in_hand } | Command::Back { in_hand } => {
                std::slice::from_ref(&in_hand.mailbox.id)
            }
            Command::Lock { locking, .. } => locking.mailboxes.list(),
            _ => &[],
        }
    }

    /// The admission that the command asks for.
    pub(crate) fn admission(&self) -> Option<Admission> {
        let (mailboxes, shared, wait) = match self {
            Command::Read { mailbox, wait, .. } => (vec![mailbox.id.clone()], true, wait.wait),
            Command::Write { mailbox, wait, .. }
            | Command::Put { mailbox, wait, .. }
            | Command::Edit { mailbox, wait, .. } => (vec![mailbox.id.clone()], false, wait.wait),
            Command::Take(options) => {
                let mailboxes = [options.mailbox.id.clone()].into_iter().chain(options.failed.clone());
                (mailboxes.collect(), false, options.take_wait())
            }
            Command::Done { in_hand } | Command::Back { in_hand } => {
                (vec![in_hand.mailbox.id.clone()], false, None)
            }
            Command::Lock { locking, .. } => {
                (locking.mailboxes.list().to_vec(), locking.shared, locking.wait.wait)
            }
            Command::Chat { mailbox, .. } => (vec![mailbox.id.clone()], false, None),
            Command::Dump(DumpOptions { selection, wait, .. }) => {
                let selected = outer_locks::mailboxes().filter(|&mailbox| selection.contains(mailbox));
                (selected.map(Mailbox::from).collect(), true, wait.wait)
            }
            _ => return None,
        };
        Some(Admission { mailboxes, shared, wait })
    }

    /// The message of a write or put.
    pub(crate) fn data_mut(&mut self) -> Option<&mut Data> {
        match self {
            Command::Write { data, .. } | Command::Put { data, .. } => Some(data),
            _ => None,
        }
    }

    /// The name of the command, and of the program that it runs.
    pub(crate) fn title(&self) -> String {
        let (verb, command) = match self {
            Command::Read { .. } => ("read", None),
            Command::Write { .. } => ("write", None),
            Command::Put { .. } => ("put", None),
            Command::Take(options) => ("take", options.command.first()),
            Command::Done { .. } => ("done", None),
            Command::Back { .. } => ("back", None),
            Command::Edit { command, .. } => ("edit", command.first()),
            Command::Lock { command, .. } => ("lock", command.first()),
            Command::Unlock { .. } => ("unlock", None),
            Command::Watch { command, .. } => ("watch", command.first()),
            Command::Name { .. } => ("name", None),
            Command::Stat { .. } => ("stat", None),
            Command::Ping => ("ping", None),
            Command::Hello { .. } => ("hello", None),
            Command::Chat { .. } => ("chat", None),
            Command::Top { .. } => ("top", None),
            Command::Ls { .. } => ("ls", None),
            Command::Bench(_) => ("bench", None),
            Command::Dump(_) => ("dump", None),
            Command::Restore(_) => ("restore", None),
            Command::Completions { .. } => ("completions", None),
            Command::Manual { .. } => ("manual", None),
        };
        command.map_or(verb.to_owned(), |program| format!("{verb}:{}", identity::program_name(program)))
    }

    /// What the command waits for, if its answer takes long.
    pub(crate) fn awaited(&self) -> String {
        match self {
            Command::Read { mailbox, after: Some(_), .. } => {
                format!("a new message in mailbox {}", mailbox.id)
            }
            Command::Take(options) => format!("a message in mailbox {}", options.mailbox.id),
            Command::Put { mailbox, .. } => format!("room in mailbox {}", mailbox.id),
            _ => match self.mailboxes() {
                [] => "the server".to_owned(),
                [mailbox] => format!("mailbox {mailbox}"),
                several => {
                    let words = several.iter().map(Mailbox::to_string).collect::<Vec<_>>();
                    format!("mailboxes {}", words.join(","))
                }
            },
        }
    }
}
