//! The table of servers, the same on a terminal and on a pipe.

use std::time::Duration;

use dipc::instance::Contents;

use super::Row;

/// The columns, and whether their values are numbers, which are aligned to the right.
const COLUMNS: [(&str, bool); 9] = [
    ("PORT", true),
    ("STATE", false),
    ("MAILBOXES", true),
    ("SIZE_KB", true),
    ("PACKET_KB", true),
    ("CLIENTS", true),
    ("MEMORY_KB", true),
    ("AGE", true),
    ("NOTE", false),
];

/// A value that does not exist.
const ABSENT: &str = "-";

/// A value that the server has not told.
const UNKNOWN: &str = "?";

type Cells = [String; COLUMNS.len()];

/// Renders the table. It has a last column only if a row has a note.
pub(super) fn render(rows: &[Row]) -> String {
    align(&rows.iter().map(cells).collect::<Vec<_>>())
}

fn cells(row: &Row) -> Cells {
    let [mailboxes, size, packet] = match &row.instance.contents {
        Contents::Mailboxes(found) => {
            [u64::from(found.mailboxes), found.capacity / 1024, found.packet / 1024].map(|n| n.to_string())
        }
        _ => [ABSENT; 3].map(str::to_owned),
    };
    let clients = match row.clients {
        Some(clients) => clients.to_string(),
        None if row.is_running() => UNKNOWN.to_owned(),
        None => ABSENT.to_owned(),
    };
    [
        row.instance.port.to_string(),
        row.state().to_owned(),
        mailboxes,
        size,
        packet,
        clients,
        row.instance.memory.div_ceil(1024).to_string(),
        row.age().map_or(ABSENT.to_owned(), age_text),
        row.note().unwrap_or_default(),
    ]
}

fn align(rows: &[Cells]) -> String {
    let has_notes = rows.iter().any(|row| row.last().is_some_and(|note| !note.is_empty()));
    let shown = COLUMNS.len() - usize::from(!has_notes);
    let header = COLUMNS.map(|(name, _)| name.to_owned());
    let all: Vec<&Cells> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let line = |row: &&Cells| {
        let cells = (0..shown).map(|column| match COLUMNS[column].1 {
            true => format!("{:>width$}", row[column], width = width(column)),
            false => format!("{:<width$}", row[column], width = width(column)),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all.iter().map(line).collect()
}

/// A duration in its largest unit.
fn age_text(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: &str) -> Cells {
        let mut words = words.splitn(COLUMNS.len(), ' ').map(str::to_owned);
        std::array::from_fn(|_| words.next().unwrap_or_default())
    }

    #[test]
    fn numbers_are_aligned_to_the_right_and_lines_have_no_blanks_at_the_end() {
        let rows = [row("80 running 4 64 8 1000 700 5s"), row("5000 dead 4 64 8 - 700 12d")];
        let expected = "\
PORT  STATE    MAILBOXES  SIZE_KB  PACKET_KB  CLIENTS  MEMORY_KB  AGE
  80  running          4       64          8     1000        700   5s
5000  dead             4       64          8        -        700  12d
";
        assert_eq!(align(&rows), expected);
        let noted = [row("80 running 4 64 8 1 700 5s"), row("81 dead - - - - 700 5s other format: old")];
        let table = align(&noted);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].ends_with("  AGE  NOTE") && lines[1].ends_with("   5s"), "{table}");
        assert!(lines[2].ends_with("   5s  other format: old"), "{table}");
    }

    #[test]
    fn an_age_has_one_unit() {
        let text = |seconds| age_text(Duration::from_secs(seconds));
        let texts = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(text);
        assert_eq!(texts, ["0s", "59s", "1m", "59m", "1h", "23h", "1d"]);
    }
}
