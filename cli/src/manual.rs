//! dipc-protocol(7): the man page of docs/protocol.md.

use crate::roff;

const PROTOCOL: &str = include_str!("../../docs/protocol.md");

/// The page as roff.
pub(crate) fn protocol() -> String {
    let head = format!(
        ".TH dipc-protocol 7 \"\" \"dipc {}\"\n\
         .SH NAME\ndipc\\-protocol \\- the protocol between dipc and its clients\n.SH DESCRIPTION\n",
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
        // Programs read the section NAME, which has to be one line.
        assert!(page.contains("its clients\n.SH DESCRIPTION\n"));
        let plain = page.replace("\\fB", "").replace("\\fR", "").replace("\\-", "-").replace("\\&", "");
        for word in ["Fair", "lost=lock", "ERR deadlock", "DISCARD_MAX", "socket.create_connection"] {
            assert!(plain.contains(word), "{word}");
        }
        for heading in PROTOCOL.lines().filter_map(|line| line.strip_prefix("## ")) {
            assert!(plain.contains(&format!(".SH {}", heading.to_uppercase())), "{heading}");
        }
    }
}
