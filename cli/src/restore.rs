//! `restore`: puts the mailboxes of a dump into a running server.
//!
//! [`source`] opens the dump, [`suitability`] compares it with the server, and [`mailbox`] restores one
//! mailbox. [`lane`] is a connection with the answers that are expected on it.
//!
//! **Invariant**: nothing is changed before the whole dump and the whole server have been checked.

mod lane;
mod mailbox;
mod source;
mod suitability;

use std::fmt;

use dipc::client::{Client, Hello};

use crate::dump::format::Totals;
use crate::dump::names::Names;
use crate::dump::pipeline::Pipeline;
use crate::dump::print_totals;
use crate::dump::progress::Progress;
use crate::dump::reader::{Reader, Section};
use crate::dump::summary::Summary;
use crate::failure::Failure;
use crate::options::{RestoreOptions, Selection};
use crate::output::Output;
use lane::{Expected, Lane};
use mailbox::MailboxWriter;

type Connect<'a> = &'a dyn Fn() -> Result<Client, Failure>;

/// Restores a dump.
pub(crate) fn run(connect: Connect, options: &RestoreOptions, out: &Output) -> Result<u8, Failure> {
    let (file, name) = source::open(&options.file)?;
    let (reader, ..) = Reader::check(file, &name)?;
    let (pipeline, hello) = Pipeline::new(connect()?)?;
    let mut restore = Restore { start: reader.at(), reader, selection: &options.selection, pipeline, hello };
    let lanes = restore.check_server()?;
    let mut lanes = Lane::connect(lanes, connect)?;
    let mut totals = Totals::default();
    let restored = restore.raise_versions(&mut lanes[0]);
    let restored = restored.and_then(|()| restore.restore(&mut lanes, &mut totals));
    restored.map_err(|failure| explained(failure, &totals))?;
    print_totals(&totals, out)?;
    Ok(0)
}

struct Restore<'a> {
    reader: Reader,
    /// The position of the first mailbox in the dump.
    start: u64,
    selection: &'a Selection,
    pipeline: Pipeline,
    hello: Hello,
}

impl Restore<'_> {
    /// Checks that the server is suitable. Returns the number of connections that restoring needs.
    fn check_server(&mut self) -> Result<usize, Failure> {
        let names = Names::read(&mut self.pipeline, &self.hello.features)?;
        let mut reasons = suitability::Reasons::of_features(&self.hello);
        let mut connections = 1;
        self.reader.seek(self.start)?;
        loop {
            let batch = self.next_batch()?;
            for summary in &batch {
                reasons.check_sizes(summary, &self.hello);
                reasons.check_name(&summary.mailbox, &names);
                connections = connections.max(mailbox::connections(summary));
            }
            reasons.check_contents(&batch, &mut self.pipeline, &self.hello)?;
            if batch.len() < suitability::BATCH {
                return reasons.into_result().map(|()| connections);
            }
        }
    }

    /// Raises the version of each mailbox to that before its first message.
    fn raise_versions(&mut self, lane: &mut Lane) -> Result<(), Failure> {
        self.reader.seek(self.start)?;
        while let Some(summary) = self.next()? {
            let (number, version) = (summary.mailbox.number, summary.base());
            if version > 0 {
                let request = format_args!("version {number} v={version} wait=0");
                lane.request(number, Expected::Raised { version }, request)?;
            }
        }
        lane.drain()
    }

    /// Restores messages and names. `totals`: what is restored completely.
    fn restore(&mut self, lanes: &mut [Lane], totals: &mut Totals) -> Result<(), Failure> {
        self.reader.seek(self.start)?;
        let mut progress = Progress::new();
        while let Some(summary) = self.next()? {
            MailboxWriter::new(lanes, &mut self.reader).restore(&summary)?;
            totals.mailboxes += 1;
            totals.messages += summary.mailbox.count;
            totals.bytes += summary.bytes;
            progress.show(format_args!("mailbox {}; {totals}", summary.mailbox.number));
        }
        lanes[0].drain()
    }

    /// The next mailboxes, fewer than a batch at the end of the dump.
    fn next_batch(&mut self) -> Result<Vec<Summary>, Failure> {
        let mut batch = Vec::new();
        while batch.len() < suitability::BATCH
            && let Some(summary) = self.next()?
        {
            batch.push(summary);
        }
        Ok(batch)
    }

    /// The next selected mailbox. None: the end of the dump.
    fn next(&mut self) -> Result<Option<Summary>, Failure> {
        while let Section::Mailbox(summary) = self.reader.next_section()? {
            if self.selection.contains(summary.mailbox.number) {
                return Ok(Some(summary));
            }
        }
        Ok(None)
    }
}

/// The failure of a restore that has changed the server.
fn explained(failure: Failure, sent: &Totals) -> Failure {
    let state = |failure: &dyn fmt::Display| {
        format!(
            "{failure}; the restore is incomplete: {sent} were sent before, of which the last ones may be \
             missing, and versions of later mailboxes may be raised"
        )
    };
    match failure {
        Failure::Transfer { code, word, text } => Failure::Transfer { code, word, text: state(&text) },
        other => {
            Failure::Transfer { code: other.exit_code(), word: "incomplete".to_owned(), text: state(&other) }
        }
    }
}
