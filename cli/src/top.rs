//! What happens in a server, again every second: its mailboxes, who holds them, who waits, and how fast it goes.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use dipc::client::{Client, Stat, Topic};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;

/// Mailboxes that are asked about at most: each is a request.
const MAILBOXES_MAX: u64 = 1024;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Puts the cursor home, and clears from there on.
const HOME: &str = "\x1b[H\x1b[J";

/// Lines above the mailboxes.
const HEAD: usize = 5;

/// Shows it once, or for ever.
pub fn run(client: &mut Client, once: bool, out: &Output) -> Result<u8, Failure> {
    let mut before = None;
    loop {
        let look = Look::at(client)?;
        let height = terminal_size::terminal_size().map(|(_, height)| usize::from(height.0));
        let rows = height
            .filter(|_| out.is_terminal && !once)
            .map_or(usize::MAX, |height| height.saturating_sub(HEAD));
        match (out.json, once || !out.is_terminal) {
            (true, _) => out.value(look.json(before.as_ref()))?,
            (false, true) => out.lines(&look.text(before.as_ref(), rows))?,
            (false, false) => {
                out.bytes(HOME.as_bytes())?;
                out.lines(&look.text(before.as_ref(), rows))?;
            }
        }
        if once {
            return Ok(0);
        }
        thread::sleep(PERIOD.saturating_sub(look.at.elapsed()));
        before = Some(look);
    }
}

/// What was to be seen at one moment.
struct Look {
    at: Instant,
    server: Stat,
    mailboxes: BTreeMap<u32, Stat>,
}

impl Look {
    fn at(client: &mut Client) -> Result<Self, Failure> {
        let (at, server) = (Instant::now(), client.stat(Topic::Server)?);
        let asked = server.number("mailboxes").unwrap_or(0).min(MAILBOXES_MAX) as u32;
        let mailboxes = (0..asked)
            .map(|mailbox| Ok((mailbox, client.stat(Topic::Mailbox(mailbox))?)))
            .collect::<Result<_, Failure>>()?;
        Ok(Look { at, server, mailboxes })
    }

    fn number(&self, name: &str) -> u64 {
        self.server.number(name).unwrap_or(0)
    }

    /// How often something is counted in a second, since an earlier look.
    fn rate(&self, before: Option<&Look>, count: impl Fn(&Look) -> Option<u64>) -> Option<f64> {
        let before = before?;
        let more = count(self)?.saturating_sub(count(before)?);
        Some(more as f64 / self.at.duration_since(before.at).as_secs_f64().max(0.001))
    }

    /// Messages that come into a mailbox in a second.
    fn arrivals(&self, before: Option<&Look>, mailbox: u32) -> Option<f64> {
        self.rate(before, |look| look.mailboxes.get(&mailbox)?.number("version"))
    }

    fn text(&self, before: Option<&Look>, rows: usize) -> String {
        let rate = |name| shown(self.rate(before, |look| look.server.number(name)));
        let mut text = format!(
            "up {} s  connections {}  waiting {}  watching {}  locks {}  overtakes {}\n\
             requests/s {}  reads {}  writes {}  puts {}  takes {}  locks {}\n\n{:>6} {:>10} {:>8} {:>10} {:>9} {:>7} \
             {:>5} {:>10} {:>8} {:>9}  {}\n",
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
            "MESSAGES",
            "BYTES",
            "HELD",
            "WAITING",
            "ASIDE",
            "OLDEST_MS",
            "WATCHERS",
            "NEW/s",
            "HOLDERS",
        );
        let mut shown = self.mailboxes.keys().copied().collect::<Vec<_>>();
        if shown.len() > rows {
            // Those where something happens.
            shown.sort_by_key(|mailbox| std::cmp::Reverse(self.liveliness(before, *mailbox)));
            shown.truncate(rows.saturating_sub(1));
            shown.sort_unstable();
        }
        for mailbox in &shown {
            text.push_str(&self.row(before, *mailbox));
        }
        let hidden = self.number("mailboxes").saturating_sub(shown.len() as u64);
        if hidden > 0 {
            text.push_str(&format!("and {hidden} more\n"));
        }
        text
    }

    fn row(&self, before: Option<&Look>, mailbox: u32) -> String {
        let Some(stat) = self.mailboxes.get(&mailbox) else { return String::new() };
        let number = |name| stat.number(name).unwrap_or(0);
        format!(
            "{mailbox:>6} {:>10} {:>8} {:>10} {:>9} {:>7} {:>5} {:>10} {:>8} {:>9}  {}\n",
            number("version"),
            number("messages"),
            number("bytes"),
            stat.value("held").unwrap_or("-"),
            number("waiting"),
            number("aside"),
            number("oldest_wait_ms"),
            number("watchers"),
            shown(self.arrivals(before, mailbox)),
            holders(stat).join(" "),
        )
    }

    fn liveliness(&self, before: Option<&Look>, mailbox: u32) -> (u64, u64) {
        let Some(stat) = self.mailboxes.get(&mailbox) else { return (0, 0) };
        let people = ["holders", "waiting", "aside", "watchers"].map(|name| stat.number(name).unwrap_or(0));
        (people.iter().sum(), self.arrivals(before, mailbox).unwrap_or(0.0) as u64)
    }

    fn json(&self, before: Option<&Look>) -> Value {
        let mailboxes = self.mailboxes.iter().map(|(mailbox, stat)| {
            json!({
                "mailbox": mailbox, "version": stat.number("version"), "messages": stat.number("messages"),
                "bytes": stat.number("bytes"), "held": stat.value("held"), "waiting": stat.number("waiting"),
                "aside": stat.number("aside"), "oldest_wait_ms": stat.number("oldest_wait_ms"),
                "watchers": stat.number("watchers"), "new_per_second": self.arrivals(before, *mailbox),
                "holders": holders(stat),
            })
        });
        json!({
            "uptime_seconds": self.number("uptime_seconds"), "connections": self.number("connections"),
            "waiting": self.number("waiting"), "locks_held": self.number("locks_held"),
            "overtakes": self.number("overtakes"),
            "requests_per_second": self.rate(before, |look| look.server.number("requests")),
            "mailboxes": mailboxes.collect::<Vec<_>>(),
        })
    }
}

/// Who has locked a mailbox: the name, or the number of the connection.
fn holders(stat: &Stat) -> Vec<String> {
    let locks = stat.lines().filter(|line| line.name == "lock");
    locks
        .map(|line| {
            let name = line.field("name").filter(|name| *name != "-");
            name.or(line.field("holder")).unwrap_or("-").to_owned()
        })
        .collect()
}

fn shown(rate: Option<f64>) -> String {
    rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"))
}
