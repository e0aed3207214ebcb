//! Lists the servers of this user on this machine, running and dead.
//!
//! The files of an instance have everything but the number of clients. Running servers are asked for it, many
//! at the same time and with a deadline, because a server may be halted.

mod table;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use dipc::client::{Address, Topic};
use dipc::instance::{self, Contents, Instance, Listing, State};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;

/// Default of `--timeout`: how long a server may take to answer with its number of clients.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Largest number of servers that are asked at the same time. Each has a thread.
const ASKED_MAX: usize = 64;

/// An instance, and the number of clients of its server.
struct Row {
    instance: Instance,
    /// `None` if there is no server, or if it does not answer.
    clients: Option<u64>,
}

/// Lists the servers with their directory in `dir`, or in the default directory.
pub(crate) fn run(dir: Option<PathBuf>, timeout: Option<Duration>, out: &Output) -> Result<u8, Failure> {
    let dir = dir.or_else(|| std::env::var_os("DIPC_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from));
    let Listing { base, instances, refused } = instance::list(dir.as_deref())
        .map_err(|error| Failure::local("cannot list the servers", std::io::Error::other(error)))?;
    refused.iter().for_each(|reason| out.print_note(reason));
    if instances.is_empty() {
        out.print_note(&format!("there is no server in {}", base.display()));
        return Ok(0);
    }
    let rows = with_clients(instances, timeout.unwrap_or(ANSWER_TIMEOUT));
    if out.json {
        rows.iter().try_for_each(|row| out.print_json(row.json()))?;
    } else {
        out.print_text(&table::render(&rows))?;
        if let Some(advice) = advice(&rows, dir.as_deref()) {
            out.print_note(&advice);
        }
    }
    Ok(0)
}

/// Asks the running servers for their numbers of clients.
fn with_clients(instances: Vec<Instance>, timeout: Duration) -> Vec<Row> {
    let mut rows: Vec<Row> = instances.into_iter().map(|instance| Row { instance, clients: None }).collect();
    let running: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].is_running()).collect();
    for chunk in running.chunks(ASKED_MAX) {
        let (sender, answers) = mpsc::channel();
        for &row in chunk {
            let State::Running { pid: Some(pid), addresses } = &rows[row].instance.state else { continue };
            let (sender, pid, addresses) = (sender.clone(), *pid, addresses.clone());
            // A thread that is late fails to send, and ends with this process at the latest. Without a thread
            // the number stays unknown.
            let _ =
                thread::Builder::new().spawn(move || sender.send((row, clients(&addresses, pid, timeout))));
        }
        drop(sender);
        let asked = Instant::now();
        while let Ok((row, clients)) = answers.recv_timeout(timeout.saturating_sub(asked.elapsed())) {
            rows[row].clients = clients;
        }
    }
    rows
}

/// The number of clients of the server with this pid, at the first of the addresses that it serves.
fn clients(addresses: &[Address], pid: u64, timeout: Duration) -> Option<u64> {
    addresses.iter().find_map(|address| {
        let mut client = address.connect(Some(timeout)).ok()?;
        client.set_timeout(Some(timeout)).ok()?;
        let stat = client.stat(Topic::Server).ok()?;
        let connections = stat.number("connections").filter(|_| stat.number("pid") == Some(pid))?;
        // One of them is the connection of this function.
        Some(connections.saturating_sub(1))
    })
}

/// How to continue with the mailboxes of a dead server, or to delete them.
fn advice(rows: &[Row], dir: Option<&Path>) -> Option<String> {
    let dead = || rows.iter().filter(|row| !row.is_running());
    let command = |row: &Row| match &row.instance.contents {
        Contents::Mailboxes(found) => Some(format!(
            "dipc {} {} {} {}",
            found.mailboxes,
            found.capacity / 1024,
            row.instance.port,
            found.packet / 1024
        )),
        _ => None,
    };
    let dir = dir.map(|dir| format!(" --dir {}", dir.display())).unwrap_or_default();
    let removal = |row: &Row| format!("dipcrm {}{dir}", row.instance.port);
    match dead().find_map(|row| Some((row, command(row)?))) {
        Some((row, start)) => Some(format!(
            "port {} has mailboxes and no server; to continue with them: {start}{dir}; to delete them: {}",
            row.instance.port,
            removal(row)
        )),
        None => dead().next().map(|row| {
            format!("port {} has files and no server; to delete them: {}", row.instance.port, removal(row))
        }),
    }
}

impl Row {
    fn is_running(&self) -> bool {
        matches!(self.instance.state, State::Running { .. })
    }

    fn state(&self) -> &'static str {
        if self.is_running() { "running" } else { "dead" }
    }

    /// The age of the mailboxes. Zero if the clock was set back.
    fn age(&self) -> Option<Duration> {
        let created = self.instance.created?;
        Some(SystemTime::now().duration_since(created).unwrap_or_default())
    }

    /// Why the segment cannot be used.
    fn note(&self) -> Option<String> {
        match &self.instance.contents {
            Contents::Mailboxes(_) | Contents::None => None,
            Contents::OtherFormat(reason) => Some(format!("other format: {reason}")),
            Contents::Unreadable(reason) => Some(reason.clone()),
        }
    }

    fn json(&self) -> Value {
        let Row { instance, clients } = self;
        let geometry = match &instance.contents {
            Contents::Mailboxes(geometry) => Some(geometry),
            _ => None,
        };
        let pid = match &instance.state {
            State::Running { pid, .. } => *pid,
            State::Dead => None,
        };
        json!({
            "port": instance.port, "state": self.state(), "pid": pid,
            "mailboxes": geometry.map(|found| found.mailboxes), "size": geometry.map(|found| found.capacity),
            "packet": geometry.map(|found| found.packet), "clients": clients,
            "memory_bytes": instance.memory, "age_seconds": self.age().map(|age| age.as_secs()),
            "directory": instance.path.to_string_lossy(), "note": self.note(),
        })
    }
}
