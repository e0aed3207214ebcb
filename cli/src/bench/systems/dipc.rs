//! The protocol of dipc: every request and every answer is a line. If data follow, the line contains their
//! length.

use super::{Answer, Protocol, Request};

pub(super) const PROTOCOL: Protocol = Protocol { eol: "\n", data_end: "\n", ping: "ping\n", head, answer };

fn head(request: Request, mailbox: usize, size: usize) -> Option<String> {
    Some(match request {
        Request::Read => format!("r {mailbox}\n"),
        Request::Write => format!("w {mailbox} {size}\n"),
        Request::Put => format!("put {mailbox} {size}\n"),
        Request::Take => format!("take {mailbox}\n"),
        Request::Lock => format!("lock {mailbox}\n"),
        Request::Unlock => format!("unlock {mailbox}\n"),
        // Not needed: a write empties the queue, and `stat` shows whether it is empty.
        Request::Clear | Request::Oldest => return None,
    })
}

fn answer(line: &str) -> Option<Answer> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    match first {
        "OK" => Some(Answer::Ok),
        "NO" => Some(Answer::No),
        "DATA" => rest.split(' ').next()?.parse().ok().map(Answer::Data),
        "ERR" => Some(Answer::Error(line.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_decoded() {
        assert_eq!(answer("OK v=1"), Some(Answer::Ok));
        assert_eq!(answer("OK"), Some(Answer::Ok));
        assert_eq!(answer("DATA 17 v=1 n=1"), Some(Answer::Data(17)));
        assert_eq!(answer("NO timeout"), Some(Answer::No));
        assert_eq!(answer("ERR box max=3"), Some(Answer::Error("ERR box max=3".to_owned())));
        assert_eq!(answer("OKAY"), None);
    }
}
