//! A line at the prompt, as the words of a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Verbs whose last word is a text that keeps its blanks.
const WITH_TEXT: [&[u8]; 3] = [b"write", b"w", b"put"];

/// Options that are followed by no value.
const FLAGS: [&[u8]; 3] = [b"--drop", b"--json", b"--help"];

/// Cuts a line into words at its blanks. The text of a `write` or `put` is one word, with all its blanks: it begins behind
/// the mailbox, the options before and after that, and `--` if there is one.
pub fn split(line: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut rest = line;
    let mut boxes = 0;
    while let Some((word, behind)) = next(rest) {
        let has_text = words.first().is_some_and(|verb: &Vec<u8>| WITH_TEXT.contains(&verb.as_slice()));
        if has_text && (word == b"--" || (boxes == 1 && !word.starts_with(b"--"))) {
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
        if has_text && word.starts_with(b"--") && !word.contains(&b'=') && !FLAGS.contains(&word) {
            if let Some((value, behind)) = next(rest) {
                words.push(value.to_vec());
                rest = behind;
            }
        } else if has_text && !word.starts_with(b"--") {
            boxes += 1;
        }
    }
    words.into_iter().map(OsString::from_vec).collect()
}

/// The first word of a line, and what is behind it.
fn next(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (end > 0).then(|| line.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_blanks() {
        let split = |line: &str| split(line.as_bytes()).join("|".as_ref()).into_string().expect("text");
        assert_eq!(split("  read  3 --wait 1 "), "read|3|--wait|1");
        assert_eq!(split("write 3 it's  raining "), "write|3|--|it's  raining ");
        assert_eq!(split("w 3 --if 4 --off=1 a --b"), "w|3|--if|4|--off=1|--|a --b");
        assert_eq!(split("put --drop 3 x"), "put|--drop|3|--|x");
        assert_eq!(split("put 3 -- --drop"), "put|3|--|--drop");
        assert_eq!(split("put 3"), "put|3");
        assert_eq!(split(" "), "");
    }
}
