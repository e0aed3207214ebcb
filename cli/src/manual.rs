//! dipc-protocol(7): docs/protocol.md, as it is, in the language of man.

use crate::roff;

const PROTOCOL: &str = include_str!("../../docs/protocol.md");

/// The page.
pub fn protocol() -> String {
    let head = format!(
        ".TH dipc-protocol 7 \"\" \"dipc {}\"\n.SH NAME\ndipc\\-protocol \\- what dipc and its clients say to each other\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION")
    );
    head + &roff::from_markdown(PROTOCOL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_word_of_the_document() {
        let page = protocol();
        // The section NAME is read by programs, and is one line.
        assert!(page.contains("each other\n.SH DESCRIPTION\n"));
        let plain = page.replace("\\fB", "").replace("\\fR", "").replace("\\-", "-").replace("\\&", "");
        for word in ["Fair", "lost=lock", "ERR deadlock", "SWALLOW_MAX", "socket.create_connection"] {
            assert!(plain.contains(word), "{word}");
        }
        for heading in PROTOCOL.lines().filter_map(|line| line.strip_prefix("## ")) {
            assert!(plain.contains(&format!(".SH {}", heading.to_uppercase())), "{heading}");
        }
    }
}
