//! The classic text protocol of memcached, which has neither queues nor locks.

use super::{Answer, Protocol, Request};

pub(super) const PROTOCOL: Protocol =
    Protocol { eol: "\r\n", data_end: "\r\nEND\r\n", ping: "version\r\n", head, answer };

fn head(request: Request, mailbox: usize, size: usize) -> Option<String> {
    match request {
        Request::Read => Some(format!("get box:{mailbox}\r\n")),
        Request::Write => Some(format!("set box:{mailbox} 0 0 {size}\r\n")),
        _ => None,
    }
}

fn answer(line: &str) -> Option<Answer> {
    let mut words = line.split(' ');
    match words.next()? {
        "STORED" | "VERSION" => Some(Answer::Ok),
        "END" => Some(Answer::No),
        "VALUE" => words.nth(2)?.parse().ok().map(Answer::Data),
        first if first.ends_with("ERROR") => Some(Answer::Error(line.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines() {
        assert_eq!(head(Request::Read, 7, 0).as_deref(), Some("get box:7\r\n"));
        assert_eq!(head(Request::Write, 7, 3).as_deref(), Some("set box:7 0 0 3\r\n"));
        assert_eq!(head(Request::Take, 7, 3), None);
    }

    #[test]
    fn answers_are_decoded() {
        assert_eq!(answer("STORED"), Some(Answer::Ok));
        assert_eq!(answer("VERSION 1.6.0"), Some(Answer::Ok));
        assert_eq!(answer("VALUE box:7 0 100"), Some(Answer::Data(100)));
        assert_eq!(answer("END"), Some(Answer::No));
        let refused = "SERVER_ERROR object too large for cache";
        assert_eq!(answer(refused), Some(Answer::Error(refused.to_owned())));
        assert_eq!(answer("STORE"), None);
    }
}
