//! Splits a line of the prompt into the words of a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Verbs whose last argument is a text. Its blanks are kept.
const WITH_TEXT: [&[u8]; 3] = [b"write", b"w", b"put"];

/// The beginnings of options in the protocol. A text that begins with one of them is rejected: it is probably
/// a mistake, and would be written to the mailbox.
const IN_PROTOCOL: [&[u8]; 4] = [b"if=", b"off=", b"wait=", b"full="];

/// Options without a value.
const FLAGS: [&[u8]; 5] = [b"--drop", b"--json", b"--verbose", b"-v", b"--help"];

/// Splits a line into words with the quoting rules of a shell. The text of a `write` or `put` is one word,
/// exactly as it was typed, so that `it's  raining` needs no quotes.
pub(super) fn split(line: &[u8]) -> Result<Vec<OsString>, &'static str> {
    let mut words = std::iter::successors(next(line), |(_, remaining)| next(remaining)).map(|(word, _)| word);
    let verb = words.find(|word| !word.starts_with(b"-"));
    let has_text = verb.is_some_and(|verb| WITH_TEXT.contains(&verb));
    let words = match has_text {
        true => with_text(line)?,
        false => shlex::bytes::split(line).ok_or("a quote is not closed")?,
    };
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// Splits a line at its blanks, up to the text. The text begins after the mailbox, after all options (they
/// may precede or follow the mailbox), and after `--` if the line contains it.
fn with_text(line: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line;
    // Counts the words that are not options: the verb and the mailbox.
    let mut plain = 0;
    while let Some((word, remaining)) = next(rest) {
        let is_option = word.starts_with(b"--") || (plain < 2 && word == b"-v");
        if word == b"--" || (plain == 2 && !is_option) {
            if IN_PROTOCOL.iter().any(|option| word.starts_with(option)) {
                return Err("options are written --if V here; put -- before a text that begins like this");
            }
            words.push(b"--".to_vec());
            let text = if word == b"--" {
                remaining.strip_prefix(b" ").unwrap_or(remaining)
            } else {
                rest.trim_ascii_start()
            };
            if !text.is_empty() {
                words.push(text.to_vec());
            }
            break;
        }
        words.push(word.to_vec());
        rest = remaining;
        if is_option && !word.contains(&b'=') && !FLAGS.contains(&word) {
            if let Some((value, remaining)) = next(rest) {
                words.push(value.to_vec());
                rest = remaining;
            }
        } else if !is_option {
            plain += 1;
        }
    }
    Ok(words)
}

/// Splits off the first word of a line. Returns the word and the rest. None: the line is blank.
fn next(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (end > 0).then(|| line.split_at(end))
}

#[cfg(test)]
mod tests {
    fn split(line: &str) -> String {
        let words = super::split(line.as_bytes()).unwrap_or_else(|why| vec![why.into()]);
        words.join("|".as_ref()).into_string().expect("text")
    }

    #[test]
    fn words_are_split_as_in_a_shell() {
        assert_eq!(split("  read  3 --wait 1 "), "read|3|--wait|1");
        assert_eq!(
            split("lock 3 -- sh -c 'echo \"$DIPC_BOX\"' a\\ b \"c d\""),
            "lock|3|--|sh|-c|echo \"$DIPC_BOX\"|a b|c d"
        );
        assert_eq!(split("hello it's"), "a quote is not closed");
        assert_eq!(split(" "), "");
    }

    #[test]
    fn a_text_is_kept_as_it_was_typed() {
        assert_eq!(split("write 3 it's  raining "), "write|3|--|it's  raining ");
        assert_eq!(split("w 3 --if 4 --off=1 a --b"), "w|3|--if|4|--off=1|--|a --b");
        assert_eq!(split("put --drop 3 {\"x\": 1}"), "put|--drop|3|--|{\"x\": 1}");
        assert_eq!(split("put 3 -- --drop"), "put|3|--|--drop");
        assert_eq!(split("put 3"), "put|3");
        assert_eq!(split("-v put 3 it's"), "-v|put|3|--|it's");
        assert_eq!(split("put -v 3 --verbose -v x"), "put|-v|3|--verbose|--|-v x");
        assert_eq!(split("--json write 3 it's  so"), "--json|write|3|--|it's  so");
        assert!(split("w 3 if=4 x").starts_with("options are written"));
        assert_eq!(split("w 3 -- if=4 x"), "w|3|--|if=4 x");
    }
}
