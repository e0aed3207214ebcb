//! A line at the prompt, as the words of a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Verbs whose last word is a text that keeps its blanks.
const WITH_TEXT: [&[u8]; 3] = [b"write", b"w", b"put"];

/// Options that are followed by no value.
const FLAGS: [&[u8]; 3] = [b"--drop", b"--json", b"--help"];

/// Cuts a line into words as a shell does, quotes and all; `None` when a quote does not end. But the text of a `write` or
/// `put` is one word, as it was typed: whoever writes `it's  raining` means that.
pub fn split(line: &[u8]) -> Option<Vec<OsString>> {
    let has_text = next(line).is_some_and(|(verb, _)| WITH_TEXT.contains(&verb));
    let words = if has_text { with_text(line) } else { shlex::bytes::split(line)? };
    Some(words.into_iter().map(OsString::from_vec).collect())
}

/// Cuts a line at its blanks up to the text, which begins behind the mailbox, the options before and after that, and `--`
/// if there is one.
fn with_text(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line;
    // Words that are no options: the verb and the mailbox.
    let mut plain = 0;
    while let Some((word, behind)) = next(rest) {
        let is_option = word.starts_with(b"--");
        if word == b"--" || (plain == 2 && !is_option) {
            words.push(b"--".to_vec());
            let text = if word == b"--" {
                behind.strip_prefix(b" ").unwrap_or(behind)
            } else {
                rest.trim_ascii_start()
            };
            if !text.is_empty() {
                words.push(text.to_vec());
            }
            break;
        }
        words.push(word.to_vec());
        rest = behind;
        if is_option && !word.contains(&b'=') && !FLAGS.contains(&word) {
            if let Some((value, behind)) = next(rest) {
                words.push(value.to_vec());
                rest = behind;
            }
        } else if !is_option {
            plain += 1;
        }
    }
    words
}

/// The first word of a line, and what is behind it.
fn next(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (end > 0).then(|| line.split_at(end))
}

#[cfg(test)]
mod tests {
    fn split(line: &str) -> String {
        let words = super::split(line.as_bytes()).unwrap_or_else(|| vec!["a quote is open".into()]);
        words.join("|".as_ref()).into_string().expect("text")
    }

    #[test]
    fn words_are_cut_as_a_shell_does() {
        assert_eq!(split("  read  3 --wait 1 "), "read|3|--wait|1");
        assert_eq!(
            split("lock 3 -- sh -c 'echo \"$DIPC_BOX\"' a\\ b \"c d\""),
            "lock|3|--|sh|-c|echo \"$DIPC_BOX\"|a b|c d"
        );
        assert_eq!(split("hello it's"), "a quote is open");
        assert_eq!(split(" "), "");
    }

    #[test]
    fn a_text_stays_as_it_was_typed() {
        assert_eq!(split("write 3 it's  raining "), "write|3|--|it's  raining ");
        assert_eq!(split("w 3 --if 4 --off=1 a --b"), "w|3|--if|4|--off=1|--|a --b");
        assert_eq!(split("put --drop 3 {\"x\": 1}"), "put|--drop|3|--|{\"x\": 1}");
        assert_eq!(split("put 3 -- --drop"), "put|3|--|--drop");
        assert_eq!(split("put 3"), "put|3");
    }
}
