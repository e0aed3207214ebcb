//! `dump`: writes the mailboxes of a running server into a file.
//!
//! [`mod@format`] defines the file, [`writer`] and [`reader`] write and check it. [`finding`] finds the
//! mailboxes, [`mailbox`] reads the messages of one. [`pipeline`] is the connection, also for `restore`.

mod finding;
pub(crate) mod format;
mod mailbox;
pub(crate) mod names;
pub(crate) mod pipeline;
pub(crate) mod progress;
pub(crate) mod reader;
pub(crate) mod summary;
mod temporary;
pub(crate) mod writer;

use std::io::{self, BufWriter, Error, ErrorKind, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use dipc::client::{Client, Hello};
use serde_json::json;

use crate::failure::Failure;
use crate::options::DumpOptions;
use crate::output::Output;
use finding::Found;
use format::{Head, Mailbox, Totals};
use mailbox::MailboxReader;
use names::Names;
use pipeline::Pipeline;
use progress::Progress;
use temporary::Temporary;
use writer::Writer;

/// Bytes of the buffer for the file.
const BUFFER: usize = 64 * 1024;

/// Dumps the mailboxes of a server.
pub(crate) fn run(client: Client, options: &DumpOptions, out: &Output) -> Result<u8, Failure> {
    if options.file.as_os_str() == "-" {
        return to_standard_output(client, options, out);
    }
    let name = options.file.display().to_string();
    let failed = |error| Failure::local(&name, error);
    let temporary = Temporary::create(&options.file).map_err(failed)?;
    let totals = dump(client, options, temporary.file(), &name)?;
    temporary.commit().map_err(failed)?;
    print_totals(&totals, out)?;
    Ok(0)
}

fn to_standard_output(client: Client, options: &DumpOptions, out: &Output) -> Result<u8, Failure> {
    if io::stdout().is_terminal() {
        let text = "standard output is a terminal, and a dump is for a file or a pipe";
        return Err(Failure::Usage(text.to_owned()));
    }
    let totals = dump(client, options, io::stdout().lock(), "standard output")?;
    out.print_note(&totals.to_string());
    Ok(0)
}

/// Prints how much was dumped or restored.
pub(crate) fn print_totals(totals: &Totals, out: &Output) -> Result<(), Failure> {
    let Totals { mailboxes, messages, bytes } = totals;
    match out.json {
        true => out.print_json(json!({ "mailboxes": mailboxes, "messages": messages, "bytes": bytes })),
        false => out.print_text(&totals.to_string()),
    }
}

/// Dumps the mailboxes to `output`, which has this name.
fn dump(client: Client, options: &DumpOptions, output: impl Write, name: &str) -> Result<Totals, Failure> {
    let failed = |error| Failure::local(name, error);
    let (mut pipeline, hello) = Pipeline::new(client)?;
    let names = Names::read(&mut pipeline, &hello.features)?;
    let output = BufWriter::with_capacity(BUFFER, output);
    let mut writer = Writer::new(output, &head(&hello)).map_err(failed)?;
    let mut progress = Progress::new();
    let mut reader = MailboxReader::new(&mut pipeline, options.wait.wait, name);
    for numbers in options.selection.numbers(hello.mailboxes).chunks(finding::BATCH) {
        for Found { number, version, count } in finding::find(&mut reader, numbers)? {
            let mailbox = Mailbox { number, version, count, name: names.of(number).map(str::to_owned) };
            match count {
                0 if version == 0 && mailbox.name.is_none() => {}
                0 => writer.mailbox(&mailbox).map_err(failed)?,
                _ => reader.copy(mailbox, &mut writer, &mut progress)?,
            }
        }
        let done = numbers.last().map_or(0, |&last| u64::from(last) + 1);
        progress.show(format_args!("{done} of {} mailboxes looked at; {}", hello.mailboxes, writer.totals()));
    }
    reader.finish()?;
    let totals = *writer.totals();
    writer.end().map_err(failed)?;
    Ok(totals)
}

fn head(hello: &Hello) -> Head {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    Head { boxes: hello.mailboxes, size: hello.size, packet: hello.packet, life: hello.life, time }
}

/// The failure of a file whose contents are invalid.
pub(crate) fn invalid(name: &str, reason: String) -> Failure {
    Failure::local(name, Error::new(ErrorKind::InvalidData, reason))
}
