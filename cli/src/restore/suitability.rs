//! Whether a dump can be restored into a server: all reasons why not.

use dipc::client::Hello;

use crate::dump::format::Mailbox;
use crate::dump::names::Names;
use crate::dump::pipeline::Pipeline;
use crate::dump::summary::Summary;
use crate::failure::Failure;

/// Mailboxes of the server that are asked for together. The requests and their answers fit into the buffers
/// of a socket.
pub(super) const BATCH: usize = 1024;

/// The reasons that are told. Further ones are counted.
const TOLD_MAX: usize = 20;

#[derive(Default)]
pub(super) struct Reasons {
    told: Vec<String>,
    untold: usize,
}

impl Reasons {
    /// The reasons that do not depend on a mailbox.
    pub(super) fn of_features(hello: &Hello) -> Self {
        let mut reasons = Reasons::default();
        for feature in ["version", "jobs", "names"] {
            if !hello.features.iter().any(|known| known == feature) {
                reasons.add(format!("the server is too old: it does not have the feature {feature}"));
            }
        }
        reasons
    }

    pub(super) fn check_sizes(&mut self, summary: &Summary, hello: &Hello) {
        let number = summary.mailbox.number;
        if number >= hello.mailboxes {
            let last = hello.mailboxes.saturating_sub(1);
            self.add(format!("mailbox {number} does not exist; the server has mailboxes 0 to {last}"));
        }
        if summary.room() > hello.size.into() {
            self.add(format!(
                "mailbox {number} needs {} bytes; the server's SIZE_KB allows {}",
                summary.room(),
                hello.size
            ));
        }
        if summary.longest > hello.packet {
            self.add(format!(
                "mailbox {number} has a message of {} bytes; the server's PACKET_KB allows {}",
                summary.longest, hello.packet
            ));
        }
    }

    pub(super) fn check_name(&mut self, mailbox: &Mailbox, names: &Names) {
        let Some(name) = &mailbox.name else { return };
        let number = mailbox.number;
        match (names.owner(name), names.of(number)) {
            (Some(owner), _) if owner != number => self
                .add(format!("the name {name} of mailbox {number} belongs to mailbox {owner} of the server")),
            (None, Some(other)) => self.add(format!(
                "mailbox {number} has the name {other} in the server, and the name {name} in the dump"
            )),
            _ => {}
        }
    }

    /// Checks that the mailboxes of the server are empty and have low versions.
    pub(super) fn check_contents(
        &mut self,
        batch: &[Summary],
        pipeline: &mut Pipeline,
        hello: &Hello,
    ) -> Result<(), Failure> {
        let existing = || batch.iter().filter(|summary| summary.mailbox.number < hello.mailboxes);
        for summary in existing() {
            pipeline.request(format_args!("r {} len=0 wait=0", summary.mailbox.number))?;
        }
        for summary in existing() {
            let answer = pipeline.answer()?;
            pipeline.discard(&answer)?;
            let number = summary.mailbox.number;
            match (answer.number("v"), answer.number("n")) {
                (Some(_), Some(count)) if count > 0 => {
                    self.add(format!("mailbox {number} is not empty: it has {count} messages"))
                }
                (Some(version), Some(_)) if version > summary.base() => self.add(format!(
                    "mailbox {number} has version {version}, and needs at most {}",
                    summary.base()
                )),
                (Some(_), Some(_)) => {}
                _ => return Err(answer.failure(&format!("mailbox {number}"))),
            }
        }
        Ok(())
    }

    fn add(&mut self, reason: String) {
        if self.told.len() < TOLD_MAX { self.told.push(reason) } else { self.untold += 1 }
    }

    /// Fails if there is a reason.
    pub(super) fn into_result(mut self) -> Result<(), Failure> {
        if self.told.is_empty() {
            return Ok(());
        }
        if self.untold > 0 {
            self.told.push(format!("and {} further reasons", self.untold));
        }
        let text = format!("nothing was restored: {}", self.told.join("; "));
        Err(Failure::Transfer { code: 2, word: "unsuitable".to_owned(), text })
    }
}
