//! A line at the prompt, as the words of a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Verbs whose last word is a text that keeps its blanks.
const WITH_TEXT: [&[u8]; 3] = [b"write", b"w", b"put"];

/// How options are written in the protocol: as the beginning of a text they are rather a slip, and one that writes.
const IN_PROTOCOL: [&[u8]; 4] = [b"if=", b"off=", b"wait=", b"full="];

/// Options that are followed by no value.
const FLAGS: [&[u8]; 3] = [b"--drop", b"--json", b"--help"];

/// Cuts a line into words as a shell does, quotes and all; says why it cannot. But the text of a `write` or `put` is one
/// word, as it was typed: whoever writes `it's  raining` means that.
pub fn split(line: &[u8]) -> Result<Vec<OsString>, &'static str> {
    let mut words = std::iter::successors(next(line), |(_, behind)| next(behind)).map(|(word, _)| word);
    let verb = words.find(|word| !word.starts_with(b"--"));
    let has_text = verb.is_some_and(|verb| WITH_TEXT.contains(&verb));
    let words = match has_text {
        true => with_text(line)?,
        false => shlex::bytes::split(line).ok_or("a quote is not closed")?,
    };
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// Cuts a line at its blanks up to the text, which begins behind the mailbox, the options before and after that, and `--`
/// if there is one.
fn with_text(line: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line;
    // Words that are no options: the verb and the mailbox.
    let mut plain = 0;
    while let Some((word, behind)) = next(rest) {
        let is_option = word.starts_with(b"--");
        if word == b"--" || (plain == 2 && !is_option) {
            if IN_PROTOCOL.iter().any(|option| word.starts_with(option)) {
                return Err("options are written --if V here; a text that begins so stands behind --");
            }
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
    Ok(words)
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
        let words = super::split(line.as_bytes()).unwrap_or_else(|why| vec![why.into()]);
        words.join("|".as_ref()).into_string().expect("text")
    }

    #[test]
    fn words_are_cut_as_a_shell_does() {
        assert_eq!(split("  read  3 --wait 1 "), "read|3|--wait|1");
        assert_eq!(
            split("lock 3 -- sh -c 'echo \"$DIPC_BOX\"' a\\ b \"c d\""),
            "lock|3|--|sh|-c|echo \"$DIPC_BOX\"|a b|c d"
        );
        assert_eq!(split("hello it's"), "a quote is not closed");
        assert_eq!(split(" "), "");
    }

    #[test]
    fn a_text_stays_as_it_was_typed() {
        assert_eq!(split("write 3 it's  raining "), "write|3|--|it's  raining ");
        assert_eq!(split("w 3 --if 4 --off=1 a --b"), "w|3|--if|4|--off=1|--|a --b");
        assert_eq!(split("put --drop 3 {\"x\": 1}"), "put|--drop|3|--|{\"x\": 1}");
        assert_eq!(split("put 3 -- --drop"), "put|3|--|--drop");
        assert_eq!(split("put 3"), "put|3");
        assert_eq!(split("--json write 3 it's  so"), "--json|write|3|--|it's  so");
        assert!(split("w 3 if=4 x").starts_with("options are written"));
        assert_eq!(split("w 3 -- if=4 x"), "w|3|--|if=4 x");
    }
}
