//! The protocol of redis: requests are arrays of strings, answers begin with `+`, `-`, `:` or `$`. redis has
//! no lock that waits, so locks are not measured.

use super::{Answer, Protocol, Request};

pub(super) const PROTOCOL: Protocol =
    Protocol { eol: "\r\n", data_end: "\r\n", ping: "*1\r\n$4\r\nPING\r\n", head, answer };

fn head(request: Request, mailbox: usize, size: usize) -> Option<String> {
    let (key, list) = (bulk(&format!("box:{mailbox}")), bulk(&format!("list:{mailbox}")));
    Some(match request {
        Request::Read => format!("*2\r\n{}{key}", bulk("GET")),
        Request::Write => format!("*3\r\n{}{key}${size}\r\n", bulk("SET")),
        Request::Put => format!("*3\r\n{}{list}${size}\r\n", bulk("RPUSH")),
        Request::Take => format!("*2\r\n{}{list}", bulk("LPOP")),
        Request::Clear => format!("*2\r\n{}{list}", bulk("DEL")),
        Request::Oldest => format!("*3\r\n{}{list}{}", bulk("LINDEX"), bulk("0")),
        Request::Lock | Request::Unlock => return None,
    })
}

fn bulk(word: &str) -> String {
    format!("${}\r\n{word}\r\n", word.len())
}

fn answer(line: &str) -> Option<Answer> {
    let (first, rest) = line.split_at_checked(1)?;
    match first {
        "+" | ":" => Some(Answer::Ok),
        "$" if rest == "-1" => Some(Answer::No),
        "$" => rest.parse().ok().map(Answer::Data),
        "-" => Some(Answer::Error(rest.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_arrays_of_strings() {
        assert_eq!(head(Request::Read, 7, 0).as_deref(), Some("*2\r\n$3\r\nGET\r\n$5\r\nbox:7\r\n"));
        let write = head(Request::Write, 10, 3);
        assert_eq!(write.as_deref(), Some("*3\r\n$3\r\nSET\r\n$6\r\nbox:10\r\n$3\r\n"));
        let put = head(Request::Put, 7, 3);
        assert_eq!(put.as_deref(), Some("*3\r\n$5\r\nRPUSH\r\n$6\r\nlist:7\r\n$3\r\n"));
        assert_eq!(head(Request::Take, 7, 3).as_deref(), Some("*2\r\n$4\r\nLPOP\r\n$6\r\nlist:7\r\n"));
        assert_eq!(head(Request::Lock, 7, 3), None);
    }

    #[test]
    fn answers_are_decoded() {
        assert_eq!(answer("+PONG"), Some(Answer::Ok));
        assert_eq!(answer(":12"), Some(Answer::Ok));
        assert_eq!(answer("$-1"), Some(Answer::No));
        assert_eq!(answer("$100"), Some(Answer::Data(100)));
        assert_eq!(answer("-ERR no"), Some(Answer::Error("ERR no".to_owned())));
        assert_eq!(answer(""), None);
        assert_eq!(answer("OK"), None);
    }
}
