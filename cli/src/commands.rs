//! Executes one command and prints its result.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use dipc::client::{Client, JobOptions, Mailbox, PutOptions, ReadOptions, Topic, WriteOptions};
use serde_json::json;

use crate::edit::Edit;
use crate::failure::Failure;
use crate::options::{Command, Data, TakeOptions};
use crate::output::Output;
use crate::take::Worker;
use crate::watch::Watch;
use crate::{input, lock, stdio};

/// Reads the data of a write or put whose command line contains none.
pub(crate) type Input<'a> = &'a mut dyn FnMut(&mut Client) -> Result<Vec<u8>, Failure>;

/// Runs a command. Returns its exit code.
pub(crate) fn run(client: &mut Client, command: Command, out: &Output, input: Input) -> Result<u8, Failure> {
    match command {
        Command::Read { local, .. } if local.is_local => {
            return Err(Failure::Usage(
                "read --local is a command of the shell, not of the prompt".to_owned(),
            ));
        }
        Command::Read { mailbox, off, len, version, after, wait, .. } => {
            let len = if version { Some(0) } else { len };
            let options = ReadOptions { off, len, after, wait: wait.wait };
            let mailbox = client.mailbox_number(mailbox.id)?;
            let message = stdio::request(client, |client| client.read_with(mailbox, &options))?;
            let without_reader = || Failure::Output(ErrorKind::BrokenPipe.into());
            let message = message.ok_or_else(without_reader)?;
            out.print_info(message.version, Some(message.count));
            match version {
                true => out.print_version(mailbox, &message)?,
                false => out.print_message(mailbox, &message)?,
            }
        }
        Command::Write { mailbox, data, if_version, off, wait } => {
            let options = WriteOptions { if_version, off, wait: wait.wait };
            let data = bytes(client, data, input)?;
            let version = client.write_with(mailbox.id, data, &options)?;
            out.print_info(version, None);
            out.print_fields(&[("version", version)])?;
        }
        Command::Put { mailbox, data, drop, wait } => {
            let options = PutOptions { drop, wait: wait.wait };
            let data = bytes(client, data, input)?;
            let put = client.put_with(mailbox.id, data, &options)?;
            out.print_info(put.version, Some(put.count));
            out.print_fields(&[("version", put.version), ("count", put.count)])?;
        }
        Command::Take(options) if !options.command.is_empty() => {
            // None: there is no cancellation here.
            if let Some(exit) = Worker::new(&options, None, out)?.run(client)? {
                exit.reraise_interrupt();
                return Ok(exit.code);
            }
        }
        Command::Take(options) if options.ttl.is_some() => take_in_hand(client, &options, out)?,
        Command::Take(options) => take(client, &options, out)?,
        Command::Done { in_hand } => {
            let count = client.done(in_hand.mailbox.id, in_hand.version)?;
            out.print_fields(&[("count", count)])?;
        }
        Command::Back { in_hand } => {
            client.back(in_hand.mailbox.id, in_hand.version)?;
            print_ok(out)?;
        }
        Command::Edit { mailbox, wait, command } => {
            let exit = Edit::new(mailbox.id, wait.wait, &command).run(client, out)?;
            exit.reraise_interrupt();
            return Ok(exit.code);
        }
        Command::Lock { locking, conflict_exit_code, command } if !command.is_empty() => {
            let lock = lock::acquire(client, &locking)
                .map_err(|failure| failure.with_conflict_exit_code(conflict_exit_code))?;
            let exit = lock::run(lock, &locking, &command, out)?;
            exit.reraise_interrupt();
            return Ok(exit.code);
        }
        Command::Lock { locking, .. } => {
            let grant = lock::acquire(client, &locking)?.keep();
            out.print_fields(&[("grant", grant)])?;
        }
        Command::Unlock { mailboxes, grant } => {
            client.unlock(&list(&mailboxes)?, grant)?;
            print_ok(out)?;
        }
        Command::Watch { mailboxes, after, count, retry, command } => {
            let watch = Watch { mailboxes: mailboxes.list(), after, count, retry: retry.retry(), stop: None };
            let ended = watch.run(client, &command, out)?;
            if let Some(exit) = ended {
                exit.reraise();
                return Ok(exit.code);
            }
        }
        Command::Name { mailbox, name } => self::name(client, mailbox.id, name, out)?,
        Command::Stat { topic } => {
            let topic = self::topic(client, topic.as_deref())?;
            out.print_stat(topic, &client.stat(topic)?)?;
        }
        Command::Ping => {
            let asked = Instant::now();
            client.ping()?;
            let milliseconds = asked.elapsed().as_secs_f64() * 1000.0;
            match out.json {
                true => out.print_json(json!({ "ok": true, "milliseconds": milliseconds }))?,
                false => out.print_text(&format!("ok {milliseconds:.3} ms"))?,
            }
        }
        Command::Hello { name } => hello(client, name.as_deref(), out)?,
        Command::Chat { .. }
        | Command::Top { .. }
        | Command::Ls { .. }
        | Command::Bench(_)
        | Command::Dump(_)
        | Command::Restore(_)
        | Command::Completions { .. }
        | Command::Manual { .. } => {
            return Err(Failure::Usage("this is a command of the shell, not of the prompt".to_owned()));
        }
    }
    Ok(0)
}

/// Takes a message out of the mailbox, and prints it.
fn take(client: &mut Client, options: &TakeOptions, out: &Output) -> Result<(), Failure> {
    let mailbox = client.mailbox_number(&options.mailbox.id)?;
    let message = stdio::request(client, |client| client.take(mailbox, options.wait.wait))?;
    let message = message.ok_or(Failure::NotTaken)?;
    out.print_info(message.version, Some(message.count));
    out.print_message(mailbox, &message).map_err(|failure| match failure {
        Failure::Output(error) => Failure::TakenInVain(error),
        other => other,
    })
}

/// Takes a message in hand, and prints it. If it cannot be printed, the prompt ends, and the message is given
/// back with the connection.
fn take_in_hand(client: &mut Client, options: &TakeOptions, out: &Output) -> Result<(), Failure> {
    let mailbox = &options.mailbox.id;
    let limits = JobOptions { ttl: options.ttl, wait: options.wait.wait };
    let taken = stdio::request(client, |client| Ok(client.take_job_with(mailbox, &limits)?.keep()))?;
    out.print_job(&taken.ok_or(Failure::NotTaken)?)
}

/// The output of a command without a result.
fn print_ok(out: &Output) -> Result<(), Failure> {
    if out.json { out.print_json(json!({ "ok": true })) } else { Ok(()) }
}

fn bytes(client: &mut Client, data: Data, input: Input) -> Result<Vec<u8>, Failure> {
    if data.is_from_input() {
        return input(client);
    }
    if let Some(path) = data.file {
        return input::file(client, &path);
    }
    Ok(data.text.iter().map(|word| word.as_bytes()).collect::<Vec<_>>().join(&b' '))
}

fn hello(client: &mut Client, name: Option<&str>, out: &Output) -> Result<(), Failure> {
    let hello = client.hello(name)?;
    if out.json {
        return out.print_json(json!({
            "proto": hello.protocol, "server": hello.server, "boxes": hello.mailboxes, "size": hello.size,
            "packet": hello.packet, "feat": hello.features,
        }));
    }
    let (boxes, feat) = (hello.mailboxes, hello.features.join(","));
    out.print_text(&format!(
        "proto {}\nserver {}\nboxes {boxes}\nsize {}\npacket {}\nfeat {feat}\n",
        hello.protocol, hello.server, hello.size, hello.packet
    ))
}

/// Parses a list of mailboxes. `*` is the empty list, which means all.
fn list(word: &str) -> Result<Vec<Mailbox>, Failure> {
    let mailbox = |word: &str| word.parse().map_err(|_| Failure::Usage(format!("{word:?} is not a mailbox")));
    if word == "*" { Ok(Vec::new()) } else { word.split(',').map(mailbox).collect() }
}

/// Prints the number and the name of a mailbox. With a name, sets it first; `-` removes the name.
fn name(client: &mut Client, mailbox: Mailbox, name: Option<String>, out: &Output) -> Result<(), Failure> {
    let mailbox = client.mailbox_number(mailbox)?;
    let name = match name {
        None => client.mailbox_name(mailbox)?,
        Some(name) => {
            let name = Some(name).filter(|name| name != "-");
            client.set_mailbox_name(mailbox, name.as_deref())?;
            name
        }
    };
    match out.json {
        true => out.print_json(json!({ "mailbox": mailbox, "name": name })),
        false => out.print_text(&format!("mailbox {mailbox}\nname {}\n", name.as_deref().unwrap_or("-"))),
    }
}

fn topic(client: &mut Client, word: Option<&str>) -> Result<Topic, Failure> {
    Ok(match word {
        None => Topic::Server,
        Some("conns") => Topic::Connections,
        Some("locks") => Topic::Locks,
        Some("names") => Topic::Names,
        Some(word) => {
            let not_a_topic = |_| Failure::Usage(format!("{word:?} is not a mailbox, conns, locks or names"));
            let mailbox: Mailbox = word.parse().map_err(not_a_topic)?;
            Topic::Mailbox(client.mailbox_number(mailbox)?)
        }
    })
}
