//! Statistics of a server, once or every second: its mailboxes, their holders, the number of waiting
//! requests, and the rates of requests.

mod keys;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use dipc::client::{Client, Stat, Topic};
use serde_json::{Value, json};
use terminal_size::terminal_size;

use crate::failure::Failure;
use crate::output::Output;
use crate::reconnect::Retry;
use keys::Keys;

/// Maximum number of mailboxes in a snapshot. Each one needs a `stat` request.
const MAILBOXES_MAX: u64 = 1024;

/// Time between two snapshots.
const PERIOD: Duration = Duration::from_secs(1);

/// Moves the cursor to the top left corner, and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Lines of the terminal that show no mailbox: four header lines, and the last line, for the cursor.
const OTHER_LINES: usize = 5;

/// Columns of the names of mailboxes. The end of a longer name is not shown.
const NAME_WIDTH_MAX: usize = 20;

/// Prints the statistics once, or every second until `q` is pressed.
pub(crate) fn run(client: &mut Client, once: bool, retry: Retry, out: &Output) -> Result<u8, Failure> {
    let mut before = None;
    let mut keys = Keys::new(io::stdin().is_terminal() && out.can_move() && !once && !out.json)?;
    loop {
        let snapshot = match Snapshot::at(client) {
            Err(failure) if client.is_closed() && !once => {
                if !retry.reconnect(client, failure, out, |time| keys.wait(time).map(|pressed| !pressed))? {
                    return Ok(0);
                }
                before = None;
                continue;
            }
            snapshot => snapshot?,
        };
        match terminal_size().filter(|_| out.can_move() && !once) {
            _ if out.json => out.print_json(snapshot.json(before.as_ref()))?,
            None => out.print_text(&snapshot.text(before.as_ref(), usize::MAX))?,
            Some((width, height)) => {
                let text = snapshot.text(before.as_ref(), usize::from(height.0).saturating_sub(OTHER_LINES));
                out.print_bytes(CLEAR.as_bytes())?;
                out.print_text(&truncate_lines(&text, width.0.into()))?;
            }
        }
        if once {
            return Ok(0);
        }
        if keys.wait(PERIOD.saturating_sub(snapshot.at.elapsed()))? {
            return Ok(0);
        }
        before = Some(snapshot);
    }
}

/// The statistics at one moment.
struct Snapshot {
    at: Instant,
    server: Stat,
    mailboxes: BTreeMap<u32, Stat>,
}

impl Snapshot {
    fn at(client: &mut Client) -> Result<Self, Failure> {
        let (at, server) = (Instant::now(), client.stat(Topic::Server)?);
        let asked = server.number("mailboxes").unwrap_or(0).min(MAILBOXES_MAX) as u32;
        let mailboxes = (0..asked)
            .map(|mailbox| Ok((mailbox, client.stat(Topic::Mailbox(mailbox))?)))
            .collect::<Result<_, Failure>>()?;
        Ok(Snapshot { at, server, mailboxes })
    }

    fn number(&self, name: &str) -> u64 {
        self.server.number(name).unwrap_or(0)
    }

    /// Increase of a counter per second since an earlier snapshot.
    fn rate(&self, before: Option<&Snapshot>, count: impl Fn(&Snapshot) -> Option<u64>) -> Option<f64> {
        let before = before?;
        let more = count(self)?.saturating_sub(count(before)?);
        Some(more as f64 / self.at.duration_since(before.at).as_secs_f64().max(0.001))
    }

    /// New messages of a mailbox per second.
    fn arrivals(&self, before: Option<&Snapshot>, mailbox: u32) -> Option<f64> {
        self.rate(before, |snapshot| snapshot.mailboxes.get(&mailbox)?.number("version"))
    }

    fn text(&self, before: Option<&Snapshot>, rows: usize) -> String {
        let rate = |name| rate_text(self.rate(before, |snapshot| snapshot.server.number(name)));
        let listed = self.listed(before, rows);
        let width = listed.iter().filter_map(|mailbox| Some(self.name(*mailbox)?.len())).max();
        let width = width.map(|width| width.clamp("NAME".len(), NAME_WIDTH_MAX));
        let names = cell("NAME", width);
        let mut text = format!(
            "up {} s  connections {}  waiting {}  watching {}  locks held {}  overtakes {}\n\
             requests/s {}  reads {}  writes {}  puts {}  takes {}  locks {}\n\n\
             {:>5} {names}{:>9} {:>5} {:>8} {:>9} {:>4} {:>5} {:>6} {:>5} {:>5} {}\n",
            self.number("uptime_seconds"),
            self.number("connections"),
            self.number("waiting"),
            self.number("watching"),
            self.number("locks_held"),
            self.number("overtakes"),
            rate("requests"),
            rate("reads"),
            rate("writes"),
            rate("puts"),
            rate("takes"),
            rate("locks"),
            "BOX",
            "VERSION",
            "COUNT",
            "BYTES",
            "HELD",
            "WAIT",
            "ASIDE",
            "OLDEST",
            "WATCH",
            "NEW/s",
            "HOLDERS",
        );
        for mailbox in &listed {
            text.push_str(&self.row(before, *mailbox, width));
        }
        let hidden = self.number("mailboxes").saturating_sub(listed.len() as u64);
        if hidden > 0 {
            text.push_str(&format!("and {hidden} more\n"));
        }
        text
    }

    /// The mailboxes that are listed: if there are more than `rows`, only the most active ones.
    fn listed(&self, before: Option<&Snapshot>, rows: usize) -> Vec<u32> {
        let mut listed = self.mailboxes.keys().copied().collect::<Vec<_>>();
        if listed.len() > rows {
            listed.sort_by_key(|mailbox| std::cmp::Reverse(self.activity(before, *mailbox)));
            listed.truncate(rows.saturating_sub(1));
            listed.sort_unstable();
        }
        listed
    }

    fn name(&self, mailbox: u32) -> Option<&str> {
        self.mailboxes.get(&mailbox)?.value("name").filter(|name| *name != "-")
    }

    /// The row of a mailbox. `width`: of the column of names, if there is one.
    fn row(&self, before: Option<&Snapshot>, mailbox: u32, width: Option<usize>) -> String {
        let Some(stat) = self.mailboxes.get(&mailbox) else { return String::new() };
        let number = |name| stat.number(name).unwrap_or(0);
        format!(
            "{mailbox:>5} {}{:>9} {:>5} {:>8} {:>9} {:>4} {:>5} {:>6} {:>5} {:>5} {}\n",
            cell(self.name(mailbox).unwrap_or("-"), width),
            number("version"),
            number("messages"),
            number("bytes"),
            stat.value("held").unwrap_or("-"),
            number("waiting"),
            number("aside"),
            duration_text(number("oldest_wait_ms")),
            number("watchers"),
            rate_text(self.arrivals(before, mailbox)),
            holders(stat).join(" "),
        )
    }

    /// How active a mailbox is: its holders, waiting requests and watchers, then its new messages per second.
    fn activity(&self, before: Option<&Snapshot>, mailbox: u32) -> (u64, u64) {
        let Some(stat) = self.mailboxes.get(&mailbox) else { return (0, 0) };
        let counts = ["holders", "waiting", "aside", "watchers"].map(|name| stat.number(name).unwrap_or(0));
        (counts.iter().sum(), self.arrivals(before, mailbox).unwrap_or(0.0) as u64)
    }

    fn json(&self, before: Option<&Snapshot>) -> Value {
        let mailboxes = self.mailboxes.iter().map(|(mailbox, stat)| {
            json!({
                "mailbox": mailbox, "name": self.name(*mailbox), "version": stat.number("version"),
                "messages": stat.number("messages"), "bytes": stat.number("bytes"),
                "held": stat.value("held"), "waiting": stat.number("waiting"), "aside": stat.number("aside"),
                "oldest_wait_ms": stat.number("oldest_wait_ms"), "watchers": stat.number("watchers"),
                "new_per_second": self.arrivals(before, *mailbox),
                "holders": holders(stat),
            })
        });
        json!({
            "uptime_seconds": self.number("uptime_seconds"), "connections": self.number("connections"),
            "waiting": self.number("waiting"), "locks_held": self.number("locks_held"),
            "overtakes": self.number("overtakes"),
            "requests_per_second": self.rate(before, |snapshot| snapshot.server.number("requests")),
            "mailboxes": mailboxes.collect::<Vec<_>>(),
        })
    }
}

/// A name with blanks up to the width of its column, and one more. Empty without such a column.
fn cell(name: &str, width: Option<usize>) -> String {
    width.map_or(String::new(), |width| format!("{name:<width$.width$} "))
}

/// The holders of a mailbox's locks: the name, or the number, of each connection.
fn holders(stat: &Stat) -> Vec<String> {
    let locks = stat.lines().filter(|line| line.name == "lock");
    locks
        .map(|line| {
            let name = line.field("name").filter(|name| *name != "-");
            name.or(line.field("holder")).unwrap_or("-").to_owned()
        })
        .collect()
}

/// Truncates every line to the width of the terminal. A wrapped line would move the lines below it.
fn truncate_lines(text: &str, width: usize) -> String {
    text.lines().map(|line| line.chars().take(width).chain(['\n']).collect::<String>()).collect()
}

/// A duration in ms, or in s if it is at least 10 s.
fn duration_text(milliseconds: u64) -> String {
    match milliseconds {
        0..10_000 => format!("{milliseconds}ms"),
        _ => format!("{}s", milliseconds / 1000),
    }
}

fn rate_text(rate: Option<f64>) -> String {
    rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"))
}
