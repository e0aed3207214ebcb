//! Converts the Markdown of docs/ to roff: headings, paragraphs, lists, tables, code, bold text and links.
//! Other markup becomes plain text with its characters escaped.

/// Converts a document to the body of a man page. The document's title is left out, since the page has its
/// own.
pub(crate) fn from_markdown(document: &str) -> String {
    let mut page = String::new();
    let mut is_code = false;
    let mut is_table = false;
    for line in whole_lines(document) {
        let line = line.as_str();
        if line.starts_with("```") {
            page.push_str(if is_code { ".EE\n.RE\n" } else { ".RS 4\n.EX\n" });
            is_code = !is_code;
            continue;
        }
        if is_code {
            page.push_str(&format!("{}\n", verbatim(line)));
            continue;
        }
        let in_table = line.starts_with('|');
        if in_table != is_table {
            page.push_str(if in_table { ".EX\n" } else { ".EE\n" });
            is_table = in_table;
        }
        page.push_str(&match line {
            _ if in_table && line.starts_with("|---") => String::new(),
            _ if in_table => format!("{}\n", verbatim(&line.replace("\\|", "|"))),
            "" => ".PP\n".to_owned(),
            _ => prose(line),
        });
    }
    page
}

/// The lines of a document. Each paragraph and each item of a list becomes one line, because bold text and
/// links may span lines.
fn whole_lines(document: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut is_code, mut in_paragraph) = (false, false);
    for line in document.lines() {
        is_code ^= line.starts_with("```");
        let is_separate =
            is_code || line.starts_with("```") || line.is_empty() || line.starts_with(['#', '|']);
        match lines.last_mut() {
            Some(last) if in_paragraph && !is_separate && !line.starts_with("- ") => {
                last.push(' ');
                last.push_str(line.trim_start());
            }
            _ => lines.push(line.to_owned()),
        }
        in_paragraph = !is_separate;
    }
    lines
}

fn prose(line: &str) -> String {
    if line.starts_with("# ") {
        return String::new();
    }
    if let Some(heading) = line.strip_prefix("## ") {
        return format!(".SH {}\n", inline(&heading.to_uppercase()));
    }
    if let Some(heading) = line.strip_prefix("### ") {
        return format!(".SS {}\n", inline(heading));
    }
    match line.strip_prefix("- ") {
        Some(item) => format!(".IP \\(bu 2\n{}\n", inline(item)),
        None => format!("{}\n", inline(line.trim_start())),
    }
}

/// Converts bold text and code to bold, and links to their text.
fn inline(line: &str) -> String {
    let mut bold = false;
    let mut text = String::new();
    for (at, part) in line.replace("**", "`").split('`').enumerate() {
        if at > 0 {
            bold = !bold;
            text.push_str(if bold { "\u{1}" } else { "\u{2}" });
        }
        text.push_str(&unlinked(part));
    }
    verbatim(&text).replace('\u{1}', "\\fB").replace('\u{2}', "\\fR")
}

/// Replaces `[text](target)` by `text`. Brackets without a target, as in a grammar, are kept.
fn unlinked(part: &str) -> String {
    let Some((before, rest)) = part.split_once('[') else { return part.to_owned() };
    match rest.split_once("](").and_then(|(text, rest)| Some((text, rest.split_once(')')?.1))) {
        Some((text, remaining)) => format!("{before}{text}{}", unlinked(remaining)),
        None => part.to_owned(),
    }
}

/// Escapes a line so that roff finds no command in it.
pub(crate) fn verbatim(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-");
    match escaped.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_roff() {
        let document = "# Title\n\n## One\nA **b** `c-d`\n[e](f).\n- item\n\n```x\n.a\\b\n```\n\
                        | a | b |\n|---|---|\n| 1 | 2 |\n";
        let page = ".PP\n.SH ONE\nA \\fBb\\fR \\fBc\\-d\\fR e.\n.IP \\(bu 2\nitem\n.PP\n\
                    .RS 4\n.EX\n\\&.a\\eb\n.EE\n.RE\n\
                    .EX\n| a | b |\n| 1 | 2 |\n";
        assert_eq!(from_markdown(document), page);
    }
}
